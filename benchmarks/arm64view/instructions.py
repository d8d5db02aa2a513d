"""What AArch64 instructions are, as far as it says which pipes of a Cortex-A76 they take.

Source: Arm Architecture Reference Manual for A-profile, "Top-level encodings"; Arm Cortex-A76
Software Optimization Guide: four instructions decoded a cycle, two vector pipes (V0, V1), two for
addresses of loads and stores (L0, L1), three for integers (S0, S1, M), one for branches (B).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

# Of a Cortex-A76, a cycle.
DECODED, VECTOR_PIPES, MEMORY_PIPES, INTEGER_PIPES, BRANCH_PIPES = 4, 2, 2, 3, 1


@dataclass(frozen=True, slots=True)
class Mix:
    """Instructions of some code by kind; the kinds do not overlap.

    Attributes:
        dot: int8 dot products of four (SDOT, UDOT), 16 multiplications each.
        fused: float32 multiply-add on a vector (FMLA, FMLS), 4 multiplications each.
        vector: all else that the vector pipes do.
        memory: loads and stores.
        pieces: what those cost, in accesses of 16 bytes or less.
    """

    dot: int
    fused: int
    vector: int
    memory: int
    pieces: int
    integer: int
    branch: int

    @property
    def instructions(self) -> int:
        """All kinds together."""
        return self.dot + self.fused + self.vector + self.memory + self.integer + self.branch

    @property
    def cycles(self) -> float:
        """The fewest in which a Cortex-A76 can issue them, if nothing ever waits."""
        return max(
            self.instructions / DECODED,
            (self.dot + self.fused + self.vector) / VECTOR_PIPES,
            self.pieces / MEMORY_PIPES,
            self.integer / INTEGER_PIPES,
            self.branch / BRANCH_PIPES,
        )


def mix(words: Words) -> Mix:
    """Of some code, each instruction once."""
    group = (words >> 25) & 0xF
    memory = (group & 0b0101) == 0b0100
    vector = (group & 0b0111) == 0b0111
    branch = (group & 0b1110) == 0b1010
    dot = vector & (_is(words, 0x9F20FC00, 0x0E009400) | _is(words, 0x9F00F400, 0x0F00E000))
    fused = vector & (_is(words, 0xBF20FC00, 0x0E20CC00) | _is(words, 0xBF80B400, 0x0F801000))
    return Mix(
        dot=int(dot.sum()),
        fused=int(fused.sum()),
        vector=int((vector & ~dot & ~fused).sum()),
        memory=int(memory.sum()),
        pieces=int(_pieces(words)[memory].sum()),
        integer=int((~memory & ~vector & ~branch).sum()),
        branch=int(branch.sum()),
    )


def _pieces(words: Words) -> NDArray[np.int64]:
    """A pair of vector registers takes two accesses, LD1 and its like one a register."""
    pieces = np.ones(words.shape, np.int64)
    pieces[_is(words, 0x3C000000, 0x2C000000)] = 2
    several = _is(words, 0xBF200000, 0x0C000000)
    opcode = (words >> 12) & 0xF
    for code, registers in ((0b0010, 4), (0b0110, 3), (0b1010, 2), (0b0000, 4), (0b1000, 2)):
        pieces[several & (opcode == code)] = registers
    return pieces


def _is(words: Words, mask: int, value: int) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (words & np.uint32(mask)) == np.uint32(value)
    return same
