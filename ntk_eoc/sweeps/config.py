"""A config: one TOML file that says which experiment runs over which grid, and the base `Cell`."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ntk_eoc.checks import unknown_name
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.files import read_file
from ntk_eoc.sweeps.identity import digest

RESERVED = frozenset({"first_seed", "seeds"})  # set by splitting the seeds, never by a config


class Strict(BaseModel):
    """A pydantic model where strings never pass for numbers and unknown names are errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False
    )


M = TypeVar("M", bound=Strict)


class Cell(Strict):
    """The unit of work: a grid point and some of its seeds. Experiments add their own fields.

    Attributes:
        dtype: Floating-point type of the experiment's arrays.
        root_seed: Another root gives other draws of everything.
        first_seed: Index of the first seed of this cell among its point's seeds.
        seeds: How many seeds this cell holds; 0 for a deterministic experiment.
        batch: How many seeds are computed at once (see `batches.map_batched`).
    """

    dtype: Literal["float32", "float64"] = "float32"
    root_seed: int = Field(default=0, ge=0)
    first_seed: int = Field(default=0, ge=0)
    seeds: int = Field(default=0, ge=0)
    batch: int = Field(default=1, ge=1)

    outside_draw: ClassVar[frozenset[str]] = frozenset({"first_seed", "seeds", "batch"})
    """Fields that do not touch the draw: cells that differ only here see the same networks."""

    def key(self) -> Any:  # a key array; this module is read without JAX
        """Return the point's PRNG key, [], made from every field outside `outside_draw`."""
        import jax
        import numpy as np

        drawn = self.model_dump(mode="json", exclude=set(self.outside_draw))
        words = np.frombuffer(digest(drawn)[:8], dtype=">u4").astype(np.uint32)
        return jax.random.wrap_key_data(jax.numpy.asarray(words), impl="threefry2x32")

    def seed_keys(self) -> Any:
        """Return one PRNG key a seed, [seeds]: `fold_in` of the point's key and the seed's index.

        A seed's key does not depend on how the seeds are split into cells.
        """
        import jax
        import numpy as np

        index = np.arange(self.first_seed, self.first_seed + self.seeds, dtype=np.uint32)
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(self.key(), index)


class Also(Strict):
    """One more grid of the same config; what it leaves out is as in the base."""

    seeds: int | None = Field(default=None, ge=0)
    seeds_per_cell: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _grid_is_sound(self) -> "Also":
        for name, values in self.grid.items():
            if not values:
                raise ValueError(f"`grid.{name}` must be a list of at least one value, got [].")
            if len({json.dumps(value, default=str) for value in values}) < len(values):
                raise ValueError(f"`grid.{name}` must hold no value twice, got {values!r}.")
            if name in self.fixed:
                raise ValueError(
                    f"`{name}` must stand in grid or in fixed, got it in both:"
                    f" {values!r} and {self.fixed[name]!r}."
                )
        for name in RESERVED & (self.grid.keys() | self.fixed.keys()):
            raise ValueError(
                f"`{name}` must stand outside grid and fixed, as `seeds` and `seeds_per_cell`,"
                f" got {self.grid.get(name, self.fixed.get(name))!r}."
            )
        return self


class Config(Also):
    """A whole config. `docs/cluster.md` and the files of `configs/` show it in use.

    Attributes:
        experiment: A Python file, relative to the config, or `package.module`.
        title: What figures and pages call the run.
        seeds: Draws of the network per grid point; 0 for a deterministic experiment.
        seeds_per_cell: A point's seeds are split into cells of this many; all of them by default.
        batch: Seeds computed at once within a cell; part of the cell.
        dtype: Floating-point type of the experiment's arrays.
        root_seed: Another root gives other draws of everything.
        grid: Name → list of values; the grid is their product.
        fixed: Name → value, the same for every cell.
        also: More grids, each overriding the base.
    """

    experiment: str = Field(min_length=1)
    title: str = ""
    seeds: int = Field(default=0, ge=0)
    dtype: Literal["float32", "float64"] = "float32"
    root_seed: int = Field(default=0, ge=0)
    also: list[Also] = Field(default_factory=list)


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and put `key=value` overrides over it.

    Args:
        path: The TOML file.
        overrides: Like `"seeds=5"` or `"grid.m=[16, 32]"`; values are TOML, bare words strings.

    Raises:
        UserError: One line for each thing that is wrong.
    """
    table = _read_toml(path)
    for override in overrides:
        _override(table, override)
    return parse(Config, table, where=str(path))


def parse(model: type[M], table: dict[str, Any], where: str) -> M:
    """Validate a table; `UserError` with one line for each wrong field, prefixed by `where`."""
    try:
        # By way of JSON, where a strict model takes a list for a tuple: the store reads it so too.
        return model.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        lines = dict.fromkeys(_line(model, one) for one in error.errors(include_url=False))
        raise UserError("\n".join(f"{where}: {line}" for line in lines)) from None
    except (Exception, SystemExit) as error:  # a validator's own, which pydantic lets through
        told = " ".join(str(error).split())
        told = told if "`" in told else f"{type(error).__name__}: {told}"
        raise UserError(f"{where}: {told}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(path).decode("utf-8-sig"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _siblings(path), n=1)
        hint = f" Did you mean '{path.parent / near[0]}'?" if near else ""
        raise UserError(f"`config` must be an existing file, got '{path}'.{hint}") from None
    except UnicodeDecodeError:
        raise UserError(f"`config` must be a text file in UTF-8, got '{path}'.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: `config` must be valid TOML, got: {error}.") from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
        told = " ".join(str(error).split(";")[0].split())
        raise UserError(f"{path}: `config` must be TOML of a sane size, got: {told}.") from None
    except OSError as error:
        raise UserError(
            f"`config` must be a readable file, got '{path}' ({error.strerror})."
        ) from None


def _siblings(path: Path) -> list[str]:
    try:
        return [file.name for file in path.parent.glob("*.toml")]
    except OSError:
        return []


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *parents, last = [part.strip() for part in key.split(".")]
    if not equals or not last or not all(parents):
        raise UserError(
            f"`--set` must be key=value, as in seeds=5 or grid.m=[16,32], got {override!r}."
        )
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UserError(f"`--set`: `{parent}` must be a table to hold `{last}`, got {table!r}.")
    table[last] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError):
        raise UserError(f"`--set` must be of a sane size, got {len(text):,} characters.") from None
    return parsed["value"] if set(parsed) == {"value"} else text


_ALLOWED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "a string of at least {min_length} characters",
    "string_pattern_mismatch": "a string like {pattern}",
}


def _line(model: type[BaseModel], error: Any) -> str:
    """One error of pydantic's in the grammar "`field` must be <allowed>, got <value>."."""
    name = ".".join(str(part) for part in error["loc"])
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":  # a validator's own line
        text = str(context["error"])
        return text if "`" in text else f"`{name}` {text}"
    if kind == "missing":
        return f"`{name}` must be given."
    if kind == "extra_forbidden":
        return unknown_name("key", error["loc"][-1], _known(model, error["loc"][:-1]))
    if kind == "literal_error":
        names = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return unknown_name(name, value, names)
    allowed = _ALLOWED.get(kind)
    if allowed is None:
        return f"`{name}`: {error['msg']}, got {value!r}."
    return f"`{name}` must be {allowed.format(**context)}, got {value!r}."


def _known(model: type[BaseModel], parents: Iterable[str | int]) -> list[str]:
    inner = Also if "also" in parents else model
    return [
        name for name in inner.model_fields if not (issubclass(inner, Cell) and name in RESERVED)
    ]
