"""Everything a user may set, read once from `labeler.toml` plus flags and passed down."""

import json
import re
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from labeler.errors import BadInput

TYPES: dict[str, Any] = {  # Any: a type, or several
    "images": str | None,
    "encoder": str,
    "views": int,
    "device": str,
    "batch_size": int,
    "audit_share": int | float,
    "repeat_share": int | float,
    "lease_s": int,
    "near_duplicate_cos": int | float,
    "max_megapixels": int,
    "sample_size": int,
    "exact_limit": int,
    "search_recall": int | float,
}
WORDS = {str: "text", str | None: "text", int: "a whole number", int | float: "a number"}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a user may set. Units in the names."""

    images: str | None = None  # the folder of images; None: the drawn demonstration set
    encoder: str = "builtin"  # builtin, a folder that transformers can load, or a name on the hub
    views: int = 1  # turned views of each image; 4 or 8 for images that have no up
    device: str = "auto"  # where a pretrained encoder computes: auto, cpu, cuda, cuda:1 or mps
    batch_size: int = 20  # answers between two rounds of learning
    audit_share: float = 0.05  # part of each batch drawn at random, for honest figures
    repeat_share: float = 0.03  # part of the cards asked a second time, where a share to find is set
    lease_s: int = 300  # how long a card belongs to one person
    near_duplicate_cos: float = 0.98  # items this alike don't follow each other
    max_megapixels: int = 200  # larger images are set aside, not decoded
    sample_size: int = 100_000  # the representative sample on which doubt is scored
    exact_limit: int = 1_000_000  # with more images a round looks at the sample and at neighbours only
    search_recall: float = 0.95  # share of the 100 nearest that a search of a large pool is to find

    def __post_init__(self) -> None:
        for name, kind in TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise BadInput(f"{name} is {value!r}, which it can't be.", f"Give {WORDS[kind]}.")
        if not 0 <= self.audit_share <= 1:
            raise BadInput(f"audit_share is {self.audit_share}.", "Give a share from 0 to 1.")
        if not 0 <= self.repeat_share <= 0.5:
            raise BadInput(f"repeat_share is {self.repeat_share}.", "Give a share from 0 to 0.5.")
        if not 1 <= self.batch_size <= 1000:
            raise BadInput(f"The batch size is {self.batch_size}.", "Give a number from 1 to 1000.")
        if self.views not in (1, 4, 8):
            raise BadInput(f"views is {self.views}.", "Give 1, 4 or 8.")
        if re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,2})?", self.device) is None:
            raise BadInput(f"The device is {self.device!r}.", "Give auto, cpu, cuda, cuda:1 or mps.")
        if not 5 <= self.lease_s <= 86_400:
            raise BadInput(f"lease_s is {self.lease_s}.", "Give seconds from 5 to 86400.")
        if not 0 < self.near_duplicate_cos <= 1:
            raise BadInput(
                f"near_duplicate_cos is {self.near_duplicate_cos}.", "Give a cosine above 0, up to 1."
            )
        if self.max_megapixels < 1 or self.sample_size < 100:
            raise BadInput(
                "max_megapixels or sample_size is too small.", "Give at least 1 megapixel and 100 items."
            )
        if self.exact_limit < 0:
            raise BadInput(f"exact_limit is {self.exact_limit}.", "Give a number of images, 0 or more.")
        if not 0 < self.search_recall <= 1:
            raise BadInput(f"search_recall is {self.search_recall}.", "Give a share above 0, up to 1.")


def load_config(path: Path, **flags: Any) -> Config:  # Any: flags come as the CLI typed them
    """Return the configuration in the TOML file `path` (absent: defaults), flags that are not None on top."""
    values: dict[str, Any] = {}  # Any: TOML values
    if path.exists():
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise BadInput(f"{path} is not valid TOML: {e}.", "Mend or delete it.") from e
    known = {f.name for f in fields(Config)}
    for name in values:
        if name not in known:
            raise BadInput(
                f"{path} sets {name!r}, which is unknown.",
                f"Use one of {', '.join(sorted(known))}, or update labeler if a later version wrote it.",
            )
    values.update({k: v for k, v in flags.items() if v is not None})
    try:
        return Config(**values)
    except TypeError as e:
        raise BadInput(f"A value in {path} has the wrong type: {e}.", "Mend it.") from e


def _quoted(text: str) -> str:
    """Return a TOML string. Raises BadInput for bytes that are no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise BadInput(f"{text!r} holds bytes that are no text.", "Rename that folder.") from e
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dump_config(config: Config) -> str:
    """Return `config` as TOML, only what differs from the defaults."""
    default = asdict(Config())
    lines = []
    for name, value in asdict(config).items():
        if value == default[name] or value is None:
            continue
        text = _quoted(value) if isinstance(value, str) else str(value)
        lines.append(f"{name} = {text}")
    return "\n".join(lines) + ("\n" if lines else "")
