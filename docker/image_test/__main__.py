"""The command: everything in turn, each result as it comes, and a report."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgeqa.processes import broker_process
from image_test.answers import compare, sample
from image_test.asking import Site
from image_test.bases import MACHINES, enable_emulation, native
from image_test.builds import Builder, Image
from image_test.cloud import serve_cloud
from image_test.memory import Memory, measure
from image_test.parts import checked_parts
from image_test.refusals import foreign, refuse, without_space
from image_test.serving import Served, serve
from image_test.shell import ImageTestError, require
from image_test.sizes import Size, size_of

_PROGRAMS = {
    "buildah": "buildah", "crun": "crun", "debootstrap": "debootstrap",
    "mosquitto": "mosquitto", "openssl": "openssl",
}  # fmt: skip
_MB = 1_000_000
# The issue's: of images without models; of resident memory, and how much more the limit allows.
MOST_COMPRESSED = 150 * _MB
MOST_DEFAULT = 250 * _MB
MOST_FULL_SIZE = 450 * _MB
_MARGIN = 1.2

STEPS = ("agent", "cloud", "memory")


class Run:
    """One run of the command: what is said, and what goes into the report."""

    def __init__(self, work: Path, site: Site) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._work = work
        self.site = site
        self.builder = Builder(work)
        self.report: dict[str, Any] = {
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"
        }

    def image(self, role: str, architecture: str) -> Image:
        """Build one, weigh it and check its parts list."""
        begun = time.monotonic()
        image = self.builder.build(role, architecture)
        size = size_of(image)
        self._say(f"{role} {architecture}: built in {time.monotonic() - begun:.0f} s")
        self._weigh(f"{role} {architecture}", size)
        parts = checked_parts(image, self._work / f"sbom-{role}-{architecture}.cdx.json")
        self._say(f"  parts list: {parts} components, valid CycloneDX 1.6")
        self.report[f"size {role} {architecture}"] = asdict(size)
        return image

    def life(self, image: Image) -> Served:
        """A container from start to end, and those that cannot work."""
        served = serve(self.site, image, sample())
        self._say(
            f"  container: first answer {served.first_answer_s:.1f} s after its start, "
            f"{served.right} of {served.asked} check questions right; health: {served.health}"
        )
        self._say(f"  user and rights: {served.security}; root file system read-only")
        self._say(f"  swap: {' '.join(served.swap)}; answered meanwhile: {served.meanwhile}")
        self._say(f"  SIGTERM: ended with {served.exit_code}, offline")
        for refused in refuse(self.site, image):
            self._say(
                f"  {refused.name}: exit {refused.exit_code}, held till then\n    {refused.line}"
            )
        self._say(f"  no space: serves, and says: {without_space(self.site, image)}")
        rest = {key: value for key, value in asdict(served).items() if key != "given"}
        self.report[f"container {image.architecture}"] = rest
        return served

    def likeness(self, theirs: Served, ours: Served) -> None:
        """Both architectures' answers.

        Raises:
            ImageTestError: a span is another, and not by a tie.
        """
        found = compare(sample(), theirs.given, ours.given)
        self.report["answers"] = asdict(found)
        self._say(
            f"answers: {found.same} of {found.questions} spans are the same on both architectures; "
            f"difference of their scores at most {found.largest:.3f}, median {found.median:.4f}"
        )
        self._say(f"  right (EM), {' and '.join(map(str, found.right))} of them")
        for line in found.ties:
            self._say(f"  a tie: {line}")
        if found.faults:
            raise ImageTestError("other answers: " + "; ".join(found.faults))

    def memory(self, image: Image, package: Path | None, most: int, name: str) -> None:
        """The memory of a container under a limit of `most` and a fifth.

        Raises:
            ImageTestError: more than `most` was resident.
        """
        limit = round(most * _MARGIN)
        found = measure(self.site, image, name=name, limit_bytes=limit, package=package)
        self.report[f"memory {name}"] = asdict(found)
        self._say(_in_words(name, found))
        if found.most > most:
            raise ImageTestError(f"{name}: more than {most / _MB:.0f} MB")

    def cloud_life(self, image: Image) -> None:
        """A container of the cloud side from start to end, and one that cannot work."""
        served = serve_cloud(self.site, image)
        self._say(f"  container: healthy {served.healthy_s:.1f} s after its start: {served.health}")
        self._say(f"  pages: {served.pages}; a device enrolled: {' '.join(served.enrolled)}")
        self._say(f"  SIGTERM: ended with {served.exit_code}")
        self._say(f"  a typing mistake in a variable: exit 3, held till then\n    {served.refusal}")
        self.report[f"cloud {image.architecture}"] = asdict(served)

    def foreign(self, image: Image) -> None:
        """What the kernel says without an emulator."""
        self._say(f"  another architecture's image, no emulator: {foreign(self._work, image)}")

    def write(self) -> None:
        """Write the report."""
        path = self._work / "report.json"
        path.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        self._say(f"report: {path}")

    def _weigh(self, name: str, size: Size) -> None:
        without = size.compressed - size.models
        self._say(
            f"  {size.compressed / _MB:.1f} MB compressed, {without / _MB:.1f} MB without models; "
            f"{size.unpacked / _MB:.0f} MB unpacked"
        )
        for made_by, weight in size.layers:
            self._say(f"    layer {weight / _MB:6.1f} MB  {made_by}")
        for part, weight in size.parts[:12]:
            self._say(f"    part  {weight / _MB:6.1f} MB  {part}")
        if without > MOST_COMPRESSED:
            raise ImageTestError(f"{name}: more than {MOST_COMPRESSED / _MB:.0f} MB")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)


def main(
    work: Annotated[Path, typer.Option(help="Folder for roots, images and logs; kept.")],
    architecture: Annotated[
        list[str] | None, typer.Option(help="Repeatable; arm64 and amd64 if not said.")
    ] = None,
    step: Annotated[
        list[str] | None, typer.Option(help=f"Repeatable: {', '.join(STEPS)}; all if not said.")
    ] = None,
    full_size: Annotated[
        Path | None,
        typer.Option(help="Package of a full-size int8 DistilBERT: benchmarks/fullsize.py."),
    ] = None,
) -> None:
    """Build the images and try them as containers, without a registry and without Docker."""
    if os.geteuid() != 0:
        raise typer.BadParameter("needs root: it makes root file systems and mounts")
    architectures = architecture or list(MACHINES)
    if unknown := set(architectures) - set(MACHINES) | set(step or []) - set(STEPS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    try:
        _run(work.resolve(), architectures, step or list(STEPS), full_size)
    except ImageTestError as error:
        Console(stderr=True, soft_wrap=True).print(f"FAILED  {error}", markup=False)
        raise typer.Exit(1) from error


def _run(
    work: Path, architectures: Sequence[str], steps: Sequence[str], full_size: Path | None
) -> None:
    require(_PROGRAMS)
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(Site(work, "").folder("broker"), 0))
        run = Run(work, Site(work, broker))
        stack.callback(run.write)
        for architecture in architectures:
            enable_emulation(architecture)
        images = {one: run.image("agent", one) for one in architectures}
        if "agent" in steps:
            served = {one: run.life(image) for one, image in images.items()}
            for one, image in images.items():
                if one != native():
                    run.foreign(image)
            if len(served) > 1:
                run.likeness(*served.values())
        if "memory" in steps and native() in images:
            run.memory(images[native()], None, MOST_DEFAULT, "default-model")
            if full_size is not None:
                run.memory(images[native()], full_size.resolve(), MOST_FULL_SIZE, "full-size")
        if "cloud" in steps:
            for one in architectures:
                run.cloud_life(run.image("cloud", one))


def _in_words(name: str, found: Memory) -> str:
    return (
        f"memory, {name}, hard limit {found.limit / _MB:.0f} MB (control groups version "
        f"{found.version}): resident {found.first / _MB:.0f} MB after the first answer, at most "
        f"{found.most / _MB:.0f} MB while it was asked, {found.idle / _MB:.0f} MB when idle; with "
        f"what the kernel can take back, {found.peak / _MB:.0f} MB at most"
    )


if __name__ == "__main__":
    typer.run(main)
