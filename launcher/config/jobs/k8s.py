"""`[k8s]`: the request to Kubernetes, a JobSet. The numbers of nodes are fields of the trainer and of inference."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from launcher.config.base import Duration, SmallInt, Switch, interpreter_alone

MOST_GPUS = 1024  # of a pod
SHM_VOLUME = "launch-shm"  # our own volume, at /dev/shm
_LABEL = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"\d{1,15}(\.\d{1,9})?(m|k|Ki|[MGTPE]i?)?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_IMAGE = re.compile(r"[!-~]{1,500}")
IMAGES_USER = "image"
_USER = re.compile(rf"\d{{1,10}}(:\d{{1,10}})?|{IMAGES_USER}")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError("must have lower-case letters, digits and '-', no '-' at an end, at most 63 characters")
    return text


def _subdomain(text: str) -> str:
    if not _SUBDOMAIN.fullmatch(text):
        raise ValueError("must have lower-case letters, digits, '-' and '.', as names in Kubernetes have")
    return text


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError("not a quantity of Kubernetes; write 8, 500m, 64Gi or 1.5T")
    return text


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError("not a key of Kubernetes; write NAME or DOMAIN/NAME, such as nvidia.com/gpu")
    return text


def _value(text: str) -> str:
    if not _VALUE.fullmatch(text):
        raise ValueError("must have at most 63 letters, digits, '-', '_' and '.'")
    return text


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError("must be the name of an image, without blanks")
    return text


def _user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise ValueError(f"must be UID or UID:GID, as `id -u` and `id -g` print them, or {IMAGES_USER}")
    return text


def _python(text: str) -> str:
    interpreter_alone(text)
    if text.startswith("~"):
        raise ValueError("the pods know no ~; write the whole path, such as /opt/venv/bin/python")
    return text


@dataclass(frozen=True)
class Volume:
    """A claim, and where the pods see it."""

    claim: str
    path: PurePosixPath
    read_only: bool = False


def volume_of(text: str) -> Volume:
    """What CLAIM:/PATH and CLAIM:/PATH:ro mean. Raises ValueError."""
    claim, _, path = text.partition(":")
    path, read_only = path.removesuffix(":ro"), path.endswith(":ro")
    mounted = PurePosixPath(path)
    if not mounted.is_absolute() or ":" in path or ".." in mounted.parts or mounted == PurePosixPath("/"):
        raise ValueError("must be CLAIM:/PATH, or CLAIM:/PATH:ro")
    return Volume(_subdomain(claim), mounted, read_only)


def _volume(text: str) -> str:
    volume_of(text)
    return text


@dataclass(frozen=True)
class Toleration:
    """A taint that the pods accept. Without a value, any; without an effect, all."""

    key: str
    value: str | None = None
    effect: str | None = None


def toleration_of(text: str) -> Toleration:
    """What KEY, KEY:EFFECT and KEY=VALUE:EFFECT mean, as in `kubectl taint`. Raises ValueError."""
    taint, colon, effect = text.partition(":")
    if colon and effect not in _EFFECTS:
        raise ValueError(f"the effect is one of {', '.join(_EFFECTS)}")
    key, equals, value = taint.partition("=")
    return Toleration(_key(key), _value(value) if equals else None, effect or None)


def _toleration(text: str) -> str:
    toleration_of(text)
    return text


DnsLabel = Annotated[str, AfterValidator(_label)]
Subdomain = Annotated[str, AfterValidator(_subdomain)]
Quantity = Annotated[str, AfterValidator(_quantity)]
Key = Annotated[str, AfterValidator(_key)]


class K8sConfig(Switch):
    """Whether and how the run is submitted to Kubernetes."""

    enabled: bool = Field(False, description="submit the run to Kubernetes, as a JobSet, instead of starting it here")
    image: Annotated[str, AfterValidator(_image)] | None = Field(
        None, description="image of the pods, in which launch is installed; required"
    )
    namespace: DnsLabel | None = Field(None, description="default: that of kubectl's context")
    context: str | None = Field(None, description="kubectl's context; default: the current one")
    queue: Annotated[Subdomain, Field(max_length=63)] | None = Field(
        None, description="Kueue's queue (label kueue.x-k8s.io/queue-name)"
    )
    gpus: int = Field(0, ge=0, le=MOST_GPUS, description="GPUs of each pod; a pod is a node of the run")
    gpu_resource: Key = Field("nvidia.com/gpu", description="the resource that the GPUs are counted as")
    cpu: Quantity | None = Field(None, description="CPUs of each pod, as Kubernetes counts them: 32")
    memory: Quantity | None = Field(None, description="memory of each pod: 512Gi")
    shared_memory: Quantity | None = Field(
        None, description="size of /dev/shm, part of the pod's memory; default: no limit of its own"
    )
    volumes: dict[DnsLabel, Annotated[str, AfterValidator(_volume)]] = Field(
        {}, description="persistent volume claims, NAME=CLAIM:/PATH; one of them has the run's directory"
    )
    secrets: tuple[Subdomain, ...] = Field(
        (), description="Secret whose entries become environment variables; may be repeated"
    )
    pull_secrets: tuple[Subdomain, ...] = Field((), description="Secret for the image's registry; may be repeated")
    service_account: Subdomain | None = Field(None, description="service account of the pods")
    node_selector: dict[Key, Annotated[str, AfterValidator(_value)]] = Field(
        {}, description="labels that the machines must have, KEY=VALUE"
    )
    tolerations: tuple[Annotated[str, AfterValidator(_toleration)], ...] = Field(
        (), description="taint that the pods accept: KEY, KEY:EFFECT or KEY=VALUE:EFFECT; may be repeated"
    )
    user: Annotated[str, AfterValidator(_user)] | None = Field(
        None, description="UID or UID:GID of the pods' processes; `image`: the image's user; default: you"
    )
    python: Annotated[str, AfterValidator(_python)] = Field("python", description="the image's Python that has launch")
    max_restarts: SmallInt = Field(0, ge=0, description="new attempts when the run has failed or a pod was lost")
    ttl: Duration | None = Field(None, ge=0, description="when an ended JobSet is deleted; default: never")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "K8sConfig":
        if self.enabled and self.image is None:
            raise ValueError("k8s.image is missing: name an image in which launch is installed, --k8s.image NAME")
        if SHM_VOLUME in self.volumes:
            raise ValueError(f"k8s.volumes: {SHM_VOLUME} is the name of launch's own volume, choose another")
        paths = [volume_of(text).path for text in self.volumes.values()]
        if double := next((path for path in paths if paths.count(path) > 1), None):
            raise ValueError(f"two volumes are mounted at {double}")
        return self

    @property
    def mounts(self) -> dict[str, Volume]:
        """The volumes by name."""
        return {name: volume_of(text) for name, text in self.volumes.items()}
