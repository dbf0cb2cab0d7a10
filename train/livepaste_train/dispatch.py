"""Several steps at one call: one program for all of them, or two for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from livepaste_train.compiling import compiled, compiled_side_by_side
from livepaste_train.parallel import everywhere, same_everywhere

Array = jax.Array
Metrics = dict[str, Array]
Program = Callable[..., Any]


def _whole() -> dict[str, Any]:
    """How programs for several devices leave what they make: whole, on each."""
    where = same_everywhere()
    return {} if where is None else {"out_shardings": where}


class Dispatch:
    """``dispatch(state, data) -> (state, metrics)``: so many steps, the state donated, metrics their means.

    On accelerators one program takes them all. On CPUs XLA compiles convolutions inside a loop to something 40 times slower
    (measured, jax 0.10.2: 16 s a step against 0.4 s), and a step takes far longer than its dispatch: there it is the same steps
    one by one, each as two programs that compile side by side.
    """

    def __init__(
        self,
        gradient_of: Callable[[Any, Any], tuple[Any, Array, Metrics]],
        stepped: Callable[[Any, Any, Array, Array], tuple[Any, Array]],
        steps: int,
    ) -> None:
        """``gradient_of(state, data)`` gives a gradient, the random key after it and metrics, ``loss`` among them;
        ``stepped(state, gradient, key, loss)`` the state after a step and the gradient's norm."""
        self._gradient_of, self._stepped, self._steps = gradient_of, stepped, steps
        self._all = None if jax.default_backend() == "cpu" else compiled(self.several, donate_argnums=0, **_whole())
        # of one training after the other: those for other shapes of state and data would only take room
        self._shapes: Any = None
        self._programs: list[Program] = []

    @property
    def in_one(self) -> bool:
        """Whether one program takes all the steps."""
        return self._all is not None

    def _compiled(self, state: Any, data: Any) -> list[Program]:
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves((state, data)))
        if shapes != self._shapes:
            made = jax.eval_shape(self._gradient_of, state, data)
            where = same_everywhere()
            gradient, key, metrics = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), made
            )
            self._programs = compiled_side_by_side(
                (self._gradient_of, (state, data), _whole()),
                (self._stepped, (state, gradient, key, metrics["loss"]), {"donate_argnums": 0, **_whole()}),
            )
            self._shapes = shapes
        return self._programs

    def needs(self, state: Any, data: Any) -> int | None:
        """Bytes that these steps take beside state and data, by XLA's own account of the compiled programs; None if it gives none.

        On CPUs the state counts once more: the host looks at the one of the last generation in place (``fit``, for roll-backs), so the next
        step's cannot take its room. Compiles, unless that is done.
        """
        state, data = everywhere((state, data))
        if self._all is not None:
            whole = _account(self._all.lower(state, data).compile())  # which the next call need not do again
            return None if whole is None else whole[0] + whole[1]
        gradient, after = (_account(program) for program in self._compiled(state, data))
        if gradient is None or after is None:
            return None
        again = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        return again + gradient[1] + max(gradient[0], sum(after))

    def _one(self, state: Any, data: Any, gradient_of: Program, stepped: Program) -> tuple[Any, Metrics]:
        """One step by two functions, compiled or to be traced."""
        gradient, key, metrics = gradient_of(state, data)
        state, norm = stepped(state, gradient, key, metrics["loss"])
        return state, {"gradient_norm": norm, **metrics}

    def several(self, state: Any, data: Any) -> tuple[Any, Metrics]:
        """All of them, to be traced."""
        state, metrics = jax.lax.scan(
            lambda s, _: self._one(s, data, self._gradient_of, self._stepped), state, None, length=self._steps
        )
        return state, jax.tree.map(jnp.mean, metrics)

    def __call__(self, state: Any, data: Any) -> tuple[Any, Metrics]:
        state = everywhere(state)
        if self._all is not None:
            return self._all(state, data)
        programs, taken = self._compiled(state, data), []
        for _ in range(self._steps):
            state, metrics = self._one(state, data, *programs)
            taken.append(metrics)
        return state, jax.tree.map(lambda *values: jnp.mean(jnp.stack(values)), *taken)


def _account(program: Any) -> tuple[int, int] | None:
    """Bytes of what a compiled program works with, and of what it gives that takes the place of nothing it was given."""
    try:
        account = program.memory_analysis()
    except jax.errors.JaxRuntimeError:  # not of every device
        return None
    if account is None:
        return None
    return account.temp_size_in_bytes, max(0, account.output_size_in_bytes - account.alias_size_in_bytes)
