"""Training that goes on where it was killed, by Orbax."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from ntk_eoc.checks import require, require_count
from ntk_eoc.training.trainer import State, spans_to

Advance = Callable[[State, Any], tuple[State, Any]]


def _orbax() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        raise ModuleNotFoundError(
            'Checkpoints need Orbax: pip install "ntk-eoc[checkpoint]".'
        ) from None
    return ocp


def _fingerprint(advance: Advance, state: State, spans: np.ndarray) -> np.ndarray:
    """A hash of how training began and goes on: a checkpoint of another one is not resumed.

    The compiler's input holds what the closure does: data, loss, optimiser, rate, batch and key.
    """
    found = hashlib.sha256(spans.tobytes())
    program = jax.jit(advance).lower(state, spans).as_text()
    found.update(program.partition("\n")[2].encode())  # without the name of the function
    for leaf in jax.tree.leaves((state.params, state.record)):
        found.update(np.asarray(leaf).tobytes())
    return np.frombuffer(found.digest(), np.uint8)


def train_with_checkpoints(
    folder: Path | str, advance: Advance, state: State, marks: Int[np.ndarray, "t"], every: int
) -> tuple[State, Any]:
    """Train up to the last mark in stretches, each saved; go on after the last one saved.

    Stops early once every seed has diverged; the observations that are then missing repeat the
    last. A resumed training has the bits of one that was never stopped.

    Args:
        folder: For the checkpoints of this training alone.
        advance: From a state and spans [t, 2] to the next state and observations, time first:
            `jax.jit(partial(trainer.advance, problem, observe, key))`.
        state: From `trainer.begin`.
        marks: Numbers of steps after which to observe.
        every: Marks a stretch.

    Returns:
        The final state, and the observations at the marks.

    Raises:
        ModuleNotFoundError: If Orbax is not installed.
        ValueError: If the folder holds checkpoints of another training.
    """
    ocp, every = _orbax(), require_count("every", every)
    spans = spans_to(marks)
    own = _fingerprint(advance, state, spans)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(Path(folder).absolute(), options=options) as manager:
        done = manager.latest_step() or 0
        pieces = []
        if done:
            state, records = _restore(ocp, manager, advance, state, spans[:done], own)
            pieces.append(records)
        while done < len(spans) and not (np.asarray(state.diverged_at) >= 0).all():
            state, records = advance(state, spans[done : done + every])
            pieces = [_joined([*pieces, jax.device_get(records)])]
            done = min(done + every, len(spans))
            saved = {"state": state, "records": pieces[0], "own": own}
            manager.save(done, args=ocp.args.StandardSave(saved))
    records = _joined(pieces)
    missing = len(spans) - done
    return state, jax.tree.map(lambda a: np.concatenate([a, *[a[-1:]] * missing]), records)


def _joined(pieces: list[Any]) -> Any:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def _restore(
    ocp: Any, manager: Any, advance: Advance, state: State, spans: np.ndarray, own: np.ndarray
) -> tuple[State, Any]:
    like = {"own": own, "state": state, "records": jax.eval_shape(advance, state, spans)[1]}
    try:
        found = manager.restore(
            len(spans),
            args=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like)),
        )
        same = bool((np.asarray(found["own"]) == own).all())
    except (ValueError, KeyError) as error:
        found, same = {}, False
        reason = str(error).splitlines()[0]
    else:
        reason = "it is of other parameters, data, marks, loss, optimiser, batches or key"
    require(
        same, "folder", f"one of this training's checkpoints ({reason})", str(manager.directory)
    )
    return found["state"], jax.device_get(found["records"])
