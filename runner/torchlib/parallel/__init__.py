"""Training on the ranks of a gang: how they meet, and how they divide a model and its batches.

    world      the ranks meet: a store, a process group, a mesh
    ddp        whole copies; gradients are averaged
    fsdp       shards of every layer (FSDP2), of whole copies' groups too (HSDP)
    tp         the layers themselves are divided
    pp         stages of consecutive layers
    mesh       the engine of ranks that each run the whole model's forward pass
    pipeline   the engine of ranks that run one stage of it

``ddp``, ``fsdp``, ``tp`` and ``pp`` hold the same four functions: ``check`` refuses a model that
can't be divided so, ``apply`` divides it, ``exchange`` says when gradients travel, ``whole`` puts a
divided state together again.
"""
