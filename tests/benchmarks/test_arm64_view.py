"""Instructions of an ARM64 program, counted by qemu with our plugin, and what is made of them."""

import ctypes
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arm64view import counts, instructions
from arm64view.estimate import estimate
from arm64view.guest import BEGIN, END
from arm64view.question import QUESTION, another, load, text, window

from edgeqa_agent.settings import default_package

REPOSITORY = Path(__file__).parents[2]
COUNTER = REPOSITORY / "benchmarks/arm64view/count.c"

# As llvm-mc encodes them.
SDOT, UDOT_BY_ELEMENT = 0x4E829420, 0x6FA2E020
FMLA, FMLS_BY_ELEMENT, FMLA_BY_ELEMENT = 0x4E22CC20, 0x4FA25020, 0x4FA21820
ADD_VECTOR, FMUL_VECTOR, SMLAL, FMOV = 0x4EA28420, 0x6E22DC20, 0x0E628020, 0x1E2E1000
LDR_Q, LDP_Q, STP_X, LD1_FOUR, ST1_ONE = 0x3DC00000, 0xACC10400, 0xA9BF07E0, 0x4CDF2000, 0x4C007800
LDR_X, PRFM, ADD_X, MADD, MOVZ = 0xF9400020, 0xF9800000, 0x8B020020, 0x9B020C20, 0xD28000E0
B_NE, CBZ, RET = 0x54000041, 0xB4000040, 0xD65F03C0


def _mix(*words: int) -> instructions.Mix:
    return instructions.mix(np.array(words, np.uint32))


def test_instructions_are_told_apart() -> None:
    found = _mix(
        SDOT, UDOT_BY_ELEMENT, FMLA, FMLS_BY_ELEMENT, FMLA_BY_ELEMENT,
        ADD_VECTOR, FMUL_VECTOR, SMLAL, FMOV,
        LDR_Q, LDP_Q, STP_X, LD1_FOUR, ST1_ONE, LDR_X, PRFM,
        ADD_X, MADD, MOVZ, B_NE, CBZ, RET,
    )  # fmt: skip
    assert found == instructions.Mix(
        dot=2, fused=3, vector=4, memory=7, pieces=11, integer=3, branch=3
    )
    assert found.instructions == 22


@pytest.mark.parametrize(
    ("words", "cycles"),
    [
        ([SDOT] * 8, 4),  # two vector pipes
        ([LD1_FOUR] * 2, 4),  # two accesses a cycle
        ([B_NE] * 3, 3),  # one branch
        ([ADD_X] * 6, 2),  # three integer pipes
        ([SDOT, SDOT, LDR_Q, LDR_Q, ADD_X, ADD_X, ADD_X, B_NE], 2),  # four decoded
    ],
)
def test_the_fewest_cycles_are_those_of_the_busiest_part(words: list[int], cycles: float) -> None:
    assert _mix(*words).cycles == cycles


def test_an_estimate_is_a_range_that_four_threads_shorten() -> None:
    one, four = estimate(2.4e9, 10_000_000, 1), estimate(2.4e9, 10_000_000, 4)
    assert one.quick < one.likely < one.slow
    # A second's cycles at nine tenths of the pace.
    assert one.quick == pytest.approx(1000 / 0.9)
    assert one.quick / 4 < four.quick < one.quick / 3
    assert four.slow < one.slow


def test_weights_bound_an_estimate_from_below() -> None:
    little = estimate(1e6, 120_000_000, 4)
    assert little.quick == pytest.approx(10)  # 120 MB at 12 GB/s


def test_functions_are_found_in_a_stripped_library() -> None:
    library = ctypes.CDLL("libc.so.6")
    address = ctypes.cast(library.qsort, ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        part = line.split()
        begin, end = (int(number, 16) for number in part[0].split("-"))
        if begin <= address < end:
            break
    offset = address - begin + int(part[2], 16)
    functions = counts._functions(Path(part[5]).read_bytes())
    assert functions == sorted(functions)
    assert offset in functions


def test_the_question_fills_a_window_and_its_text_can_be_new_each_time() -> None:
    engine = load(default_package(), 1)
    context = text(engine, 96)
    assert 90 <= len(window(engine, context).ids) <= 96
    assert len({another(context, number) for number in range(8100)}) == 8100
    for number in (0, 4711, 8099):
        assert len(window(engine, another(context, number)).ids) == len(window(engine, context).ids)
    assert engine.answer(QUESTION, context).spans[0].text == "15 seconds"


def _program(times: int) -> bytes:
    """A static ARM64 program: begin, so many dot products in a loop, end, exit."""

    def negative(value: int) -> int:  # mov x0, #value
        return 0x92800000 | (~value << 5)

    getsid, exit_group, call = 0xD2801388, 0xD2800BC8, 0xD4000001
    code = [
        *(negative(BEGIN), getsid, call),
        *(0xD2800001 | times << 5, SDOT, 0xF1000421, 0x54FFFFC1),  # x1 = times; until it is nought
        *(negative(END), call),
        *(0xD2800000, exit_group, call),
    ]
    header = 64 + 56
    size = header + 4 * len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return (
        ident
        + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x400000 + header, 64, 0, 0, 64, 56, 1, 64, 0, 0)
        + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000)
        + struct.pack(f"<{len(code)}I", *code)
    )


def test_the_plugin_counts_what_ran_between_the_marks(tmp_path: Path) -> None:
    qemu, compiler = shutil.which("qemu-aarch64"), shutil.which("cc")
    if qemu is None or compiler is None:
        pytest.skip("needs qemu-user (with plugins) and a C compiler")
    plugin, program = tmp_path / "count.so", tmp_path / "program"
    strict = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *strict, "-o", plugin, COUNTER], check=True)
    program.write_bytes(_program(1000))
    program.chmod(0o755)
    out, maps = tmp_path / "counts", tmp_path / "maps"
    subprocess.run(
        [qemu, "-cpu", "cortex-a76", "-plugin", f"{plugin},out={out}", program], check=True
    )
    maps.write_text(f"400000-401000 r-xp 00000000 00:00 0    {program}\n", encoding="utf-8")
    found = counts.whole(counts.read(out, maps))
    assert found.mix.dot == 1000
    # One to set the number, three a turn, and the two that make the second mark.
    assert found.mix.instructions == 1 + 3 * 1000 + 2
    assert found.mix.branch == 1000 + 1  # the call is one


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/arm64_view.py", "--qemu", "no-such-qemu"),
            *("--work", str(tmp_path), str(default_package())),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "is missing; apt-get install" in done.stderr.splitlines()[-1]
