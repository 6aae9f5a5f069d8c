"""Records → the state of a run, and its report: terminal, JSON, Markdown, HTML. All of it pure."""
