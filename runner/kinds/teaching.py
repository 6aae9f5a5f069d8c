"""The parameters of a training with a teacher: who teaches, by which loss, on which samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from runner.builtin import SAMPLES
from runner.kinds.training import ArtifactPath, DataParams, SourceParams, TrainingParams
from runner.parameters import Fraction, Parameters, PositiveInt

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
ModuleName = Annotated[str, Field(min_length=1)]


class UnlabelledParams(SourceParams):
    """More samples to learn from, of which labels are not looked at, if there are any."""


class TaughtDataParams(DataParams):
    """Which data to load: a built-in set by name, files by path, or a function by factory."""

    unlabelled: Literal["rest"] | UnlabelledParams | None = Field(
        None,
        description="samples that the teacher alone labels: rest, those that train_samples leaves "
        "out; or a map like data's (name, path or factory) for others, such as a folder of images, "
        "or an .npz with x. What is held out is never among them",
    )

    @model_validator(mode="after")
    def _has_samples_without_labels(self) -> TaughtDataParams:
        if self.unlabelled is None:
            return self
        if self.unlabelled == "rest" and self.train_samples is None:
            raise ValueError(
                "'unlabelled: rest' is what train_samples leaves out; expected train_samples, the "
                "number of samples that keep their labels"
            )
        if self.unlabelled != "rest" and self.name and self.name == self.unlabelled.name:
            raise ValueError(
                f"'unlabelled' is {self.name} as a whole, with what is held out of it; expected "
                "unlabelled: rest, for what train_samples leaves out"
            )
        if self.stream:
            raise ValueError("'unlabelled' does not go with 'stream'; expected one of them")
        if self.forms == ("text",):
            raise ValueError(
                "'unlabelled' is for samples with labels, and the data is text; expected no "
                "'unlabelled'"
            )
        return self

    @property
    def known_samples(self) -> int | None:
        """How many samples there are to train on, where that is known before anything is read."""
        if self.unlabelled is None:
            return super().known_samples
        if self.unlabelled == "rest":
            return self.all_known_samples
        labelled, more = super().known_samples, SAMPLES.get(self.unlabelled.name or "")
        return None if labelled is None or more is None else labelled + more


class DecoupledParams(Parameters):
    """Weights of the two parts of the soft term (Zhao et al. 2022, equation 7)."""

    alpha: NotNegative = Field(1.0, description="weight of the target class against all others")
    beta: NotNegative = Field(8.0, description="weight of the other classes among themselves")


class PairParams(Parameters):
    """Two layers by their modules' names, such as 5 or blocks.1, whose outputs are to be alike."""

    student: ModuleName = Field(description="the student's layer")
    teacher: ModuleName = Field(description="the teacher's layer")
    weight: Positive = Field(1.0, description="weight of this pair's loss beside the others")


class TeachingParams(TrainingParams):
    """A training with a teacher, in PyTorch."""

    data: TaughtDataParams = Field(description="what to train and measure on")
    teacher: ArtifactPath | Annotated[list[ArtifactPath], Field(min_length=1)] = Field(
        description="the teacher's model artifact, of PyTorch or made for any other runtime; or "
        "the artifact logits of another student of it; or a list of these",
        json_schema_extra={"artifact": "model"},
    )
    teacher_weights: list[Positive] | None = Field(
        None, description="of several teachers, their parts in the mean answer; by default equal"
    )
    temperature: Positive = Field(
        3.0, description="softens both models' outputs; their KL is weighted by its square"
    )
    alpha: Fraction = Field(
        0.7, description="weight of the soft (teacher) term; the labels weigh 1 - alpha"
    )
    decoupled: DecoupledParams | None = Field(
        None,
        description="weigh what the teacher says of the target class and of the others apart "
        "(Zhao et al. 2022)",
    )
    standardise_logits: bool = Field(
        False,
        description="give both models' logits mean 0 and deviation 1 before they are softened, so "
        "that only their shape is learnt (Sun et al. 2024)",
    )
    features: list[PairParams] = Field(
        default_factory=list,
        description="pairs {student, teacher, weight} of layers whose outputs are to be equal, "
        "through a projection where widths differ, which is not kept (Romero et al. 2015)",
    )
    attention: list[PairParams] = Field(
        default_factory=list,
        description="pairs {student, teacher, weight} of layers that are to look at the same "
        "places (Zagoruyko and Komodakis 2017)",
    )
    cache_teacher: Literal["auto", "always", "disk", "never"] = Field(
        "auto",
        description="compute the teacher's logits once per sample and reuse them; auto does so "
        "where they fit in memory and the samples are neither augmented nor streamed; disk keeps "
        "them as .npy, for later attempts and, as the artifact logits, other students",
    )
    teacher_top_k: PositiveInt | None = Field(
        None,
        description="of the teacher's answers keep the k most probable classes and what is left "
        "for all others, which takes a fraction of the room where there are many",
    )

    @property
    def teachers(self) -> list[str]:
        """The teachers, one or several."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher

    @model_validator(mode="after")
    def _teacher_sees_what_the_student_sees(self) -> TeachingParams:
        if self.augment and self.cache_teacher in ("always", "disk"):
            raise ValueError(
                f"'cache_teacher: {self.cache_teacher}' gives a student that sees augmented "
                "samples the teacher's answers to others; expected auto or never, or no 'augment'"
            )
        if self.data.stream and self.cache_teacher in ("always", "disk"):
            raise ValueError(
                f"'cache_teacher' {self.cache_teacher} keeps an answer to every sample in memory, "
                "and 'stream' is for samples that do not fit there; expected auto or never"
                if self.cache_teacher == "always"
                else "'cache_teacher' disk keeps answers by the number of the sample, and 'stream' "
                "reads samples without; expected auto or never"
            )
        return self

    @model_validator(mode="after")
    def _keeps_what_is_cached(self) -> TeachingParams:
        if self.teacher_top_k is None:
            return self
        if self.augment or self.data.stream or self.cache_teacher == "never":
            raise ValueError(
                "'teacher_top_k' is of answers that are kept, and they are not where samples are "
                "augmented or streamed, or with cache_teacher: never; expected no 'teacher_top_k'"
            )
        if self.decoupled is not None:
            raise ValueError(
                "'decoupled' tells classes apart that teacher_top_k puts together; expected one "
                "of them"
            )
        return self

    @model_validator(mode="after")
    def _weighs_teachers(self) -> TeachingParams:
        if self.teacher_weights is not None and len(self.teacher_weights) != len(self.teachers):
            raise ValueError(
                f"teacher_weights has {len(self.teacher_weights)} items for "
                f"{len(self.teachers)} teachers; expected one for each"
            )
        return self

    @model_validator(mode="after")
    def _knows_target_classes(self) -> TeachingParams:
        if self.decoupled is not None and self.data.unlabelled is not None:
            raise ValueError(
                "'decoupled' weighs the class that a label names, and data.unlabelled has none; "
                "expected one of them"
            )
        return self

    @model_validator(mode="after")
    def _sees_inside(self) -> TeachingParams:
        name = "features" if self.features else "attention"
        if not self.features and not self.attention:
            return self
        why, expected = "", ""
        if len(self.teachers) > 1:
            why, expected = "several teachers", "one teacher"
        elif self.cache_teacher in ("always", "disk") or self.teacher_top_k is not None:
            why, expected = "answers that are kept", "cache_teacher auto or never"
        elif self.compile:
            why, expected = "compile, which hides them", "compile: false"
        elif self.activation_checkpointing:
            why, expected = "activation_checkpointing", "activation_checkpointing: false"
        elif self.parallelism.tp > 1 or self.parallelism.pp > 1:
            why, expected = "tp and pp, which divide layers", "ddp or fsdp"
        if why:
            raise ValueError(
                f"'{name}' looks at layers in every step, which does not go with {why}; "
                f"expected {expected}, or no '{name}'"
            )
        return self
