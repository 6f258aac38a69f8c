"""The command line of the scanner simulator: ``scanside-scanner``.

Exit codes: 0 everything was done and stored; 1 some instances were not stored; 2 the command
or its input is wrong; 3 the receiver cannot be reached or refused; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import get_args

import numpy as np
from pydicom.dataset import FileDataset
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tools.scanner import brain_mri, chest_xray, head_ct
from tools.scanner.gather import GatherError, Instance, from_memory, gather
from tools.scanner.head_bleed import BleedKind
from tools.scanner.nifti import NiftiError, series_from_nifti
from tools.scanner.peer import Peer, PeerError, SendError, check_ae_title, is_stored
from tools.scanner.send import CALLING_AE_TITLE, Manner, SendReport, echo, send
from tools.scanner.series import write_series
from tools.scanner.slices import SlicesError, series_from_slices
from tools.scanner.tls import Tls

OK, SOME_FAILED, WRONG_INPUT, NO_PEER, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return command(arguments)
    except (GatherError, SlicesError, NiftiError, PeerError, ValueError) as error:
        return _complain(error, WRONG_INPUT)
    except OSError as error:
        return _complain(f"{error.filename or 'a file'}: {error.strerror}.", WRONG_INPUT)
    except SendError as error:
        return _complain(error, NO_PEER)
    except KeyboardInterrupt:
        return _complain("interrupted.", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scanside-scanner",
        description="Stand in for a scanner: draw phantoms, rebuild series, send DICOM.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sender = commands.add_parser("send", help="send DICOM files and folders (C-STORE)")
    sender.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    sender.add_argument("--to", required=True, type=_peer, metavar="AE@host:port")
    sender.add_argument(
        "--order", choices=("as-is", "shuffle"), default="as-is", help="default: as-is"
    )
    sender.add_argument("--repeat", type=_count, default=1, metavar="N", help="send all N times")
    sender.add_argument(
        "--new-uids", action="store_true", help="new study, series and instance UIDs each time"
    )
    _add_manner(sender)
    sender.set_defaults(run=_send)

    echoer = commands.add_parser("echo", help="ask whether a receiver is there (C-ECHO)")
    echoer.add_argument("--to", required=True, type=_peer, metavar="AE@host:port")
    echoer.add_argument("--from", dest="calling", type=_title, default=CALLING_AE_TITLE)
    _add_tls(echoer)
    echoer.set_defaults(run=_echo)

    phantom = commands.add_parser("phantom", help="draw a series with known contents")
    phantom.add_argument("kind", choices=sorted(_PHANTOMS))
    phantom.add_argument("--lesion", action="store_true", help="with something to find")
    phantom.add_argument(
        "--bleed", choices=get_args(BleedKind), help="head-ct with --lesion; default the first"
    )
    phantom.add_argument("--slices", type=_count, metavar="N", help="CT and MRI; default 40, 28")
    phantom.add_argument("--seed", type=int, default=0, metavar="N", help="which person")
    _add_destination(phantom)
    phantom.set_defaults(run=_phantom)

    slices = commands.add_parser("from-slices", help="rebuild a CT series from JPEG windows")
    slices.add_argument("folder", type=Path, help="holds NN-brain.jpg and NN-bone.jpg")
    _add_destination(slices)
    slices.set_defaults(run=_from_slices)

    nifti = commands.add_parser("from-nifti", help="make an MR series from a NIfTI file")
    nifti.add_argument("file", type=Path, help=".nii or .nii.gz")
    nifti.add_argument(
        "--patient", metavar="ID", help="Patient ID; two files with the same one are one patient"
    )
    nifti.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="of the study; default now")
    nifti.add_argument("--flair", action="store_true", help="call it a FLAIR; default a T1")
    _add_destination(nifti)
    nifti.set_defaults(run=_from_nifti)
    return parser


def _add_manner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="calling",
        type=_title,
        default=CALLING_AE_TITLE,
        metavar="AET",
        help=f"our AE title; default {CALLING_AE_TITLE}",
    )
    parser.add_argument("--rate", type=_rate, metavar="R", help="slices per second")
    parser.add_argument(
        "--pdu", type=_pdu, default=0, metavar="BYTES", help="largest PDU; default: the receiver's"
    )
    parser.add_argument("--one-association-per-image", action="store_true")
    _add_tls(parser)


def _add_tls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="speak TLS; the authority of the receiver, in PEM"
    )
    parser.add_argument(
        "--cert", type=Path, metavar="FILE", help="with --ca: our certificate, in PEM"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key, in PEM")


def _tls(arguments: argparse.Namespace) -> Tls | None:
    if (arguments.cert is None) != (arguments.key is None):
        raise ValueError("--cert and --key belong together: give both or neither.")
    if arguments.ca is None:
        if arguments.cert is not None:
            raise ValueError("--cert goes with --ca, the authority of the receiver's certificate.")
        return None
    return Tls(arguments.ca, arguments.cert, arguments.key)


def _add_destination(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the series here")
    parser.add_argument(
        "--send", dest="to", type=_peer, metavar="AE@host:port", help="send it there"
    )
    _add_manner(parser)


def _send(arguments: argparse.Namespace) -> int:
    gathered = gather(arguments.paths)
    if gathered.ignored:
        print(f"Left out, because they are not DICOM instances: {len(gathered.ignored)} files.")
    if not gathered.instances:
        raise GatherError("there is no DICOM instance in what was named; nothing to send.")
    code = OK
    for _ in range(arguments.repeat):
        instances = list(gathered.instances)
        if arguments.order == "shuffle":
            instances = [instances[i] for i in np.random.default_rng().permutation(len(instances))]
        code = max(code, _send_shown(instances, arguments, new_uids=arguments.new_uids))
    return code


def _echo(arguments: argparse.Namespace) -> int:
    elapsed = echo(arguments.to, calling=arguments.calling, tls=_tls(arguments))
    print(f"{arguments.to} is there: answered in {elapsed:.1f} ms.")
    return OK


def _phantom(arguments: argparse.Namespace) -> int:
    if arguments.seed < 0:
        raise ValueError("--seed must be 0 or more.")
    if arguments.bleed and not (arguments.lesion and arguments.kind == "head-ct"):
        raise ValueError("--bleed goes with head-ct and --lesion.")
    name = f"phantom-{arguments.kind}" + ("-lesion" if arguments.lesion else "")
    series, truth = _PHANTOMS[arguments.kind](arguments)
    return _deliver(series, arguments, Path(name), truth)


def _from_slices(arguments: argparse.Namespace) -> int:
    series = series_from_slices(arguments.folder)
    return _deliver(series, arguments, Path(f"slices-{arguments.folder.resolve().name}"), None)


def _from_nifti(arguments: argparse.Namespace) -> int:
    series = series_from_nifti(
        arguments.file, when=arguments.date, patient=arguments.patient, flair=arguments.flair
    )
    return _deliver(series, arguments, Path(f"nifti-{arguments.file.name.split('.')[0]}"), None)


def _head_ct(arguments: argparse.Namespace) -> tuple[list[FileDataset], dict[str, object]]:
    kind: BleedKind = arguments.bleed or get_args(BleedKind)[0]
    drawn = head_ct.draw_head_ct(
        arguments.lesion, arguments.slices or 40, arguments.seed, bleed=kind
    )
    return head_ct.as_series(drawn, arguments.seed), drawn.truth


def _chest_xray(arguments: argparse.Namespace) -> tuple[list[FileDataset], dict[str, object]]:
    if arguments.slices is not None:
        raise ValueError("a chest X-ray is one image: leave --slices out.")
    drawn = chest_xray.draw_chest_xray(arguments.lesion, arguments.seed)
    return chest_xray.as_series(drawn, arguments.seed), drawn.truth


def _brain_mri(arguments: argparse.Namespace) -> tuple[list[FileDataset], dict[str, object]]:
    drawn = brain_mri.draw_brain_mri(arguments.lesion, arguments.slices or 28, arguments.seed)
    return brain_mri.as_series(drawn, arguments.seed), drawn.truth


_PHANTOMS: dict[
    str, Callable[[argparse.Namespace], tuple[list[FileDataset], dict[str, object]]]
] = {"head-ct": _head_ct, "chest-xray": _chest_xray, "brain-mri": _brain_mri}


def _deliver(
    series: list[FileDataset],
    arguments: argparse.Namespace,
    default_folder: Path,
    truth: dict[str, object] | None,
) -> int:
    """Write the series, send it, or both; a folder is the default when nothing was asked."""
    folder: Path | None = arguments.out
    if folder is None and arguments.to is None:
        folder = default_folder
    if folder is not None:
        if any(folder.glob("image-*.dcm")):
            raise ValueError(f"{folder} already holds a series; name another folder with --out.")
        write_series(series, folder)
        if truth is not None:
            # Beside the folder, not in it: senders take every file of a folder for DICOM.
            truth_file = folder.with_name(f"{folder.name}-truth.json")
            truth_file.write_text(json.dumps(truth, indent=2) + "\n")
        print(f"{len(series)} images written to {folder}.")
    if arguments.to is None:
        return OK
    return _send_shown([from_memory(ds) for ds in series], arguments, new_uids=False)


def _send_shown(instances: list[Instance], arguments: argparse.Namespace, *, new_uids: bool) -> int:
    """Send with a progress bar, and say how it went."""
    manner = Manner(
        calling=arguments.calling,
        rate=arguments.rate,
        max_pdu=arguments.pdu,
        one_association_per_image=arguments.one_association_per_image,
        new_uids=new_uids,
        tls=_tls(arguments),
    )
    stored = 0
    with _progress() as progress:
        task = progress.add_task(str(arguments.to), total=len(instances))

        def on_sent(_index: int, _before: int, _after: int, status: int | None) -> None:
            nonlocal stored
            stored += status is not None and is_stored(status)
            progress.advance(task)

        try:
            report = send(instances, arguments.to, manner=manner, on_sent=on_sent)
        except KeyboardInterrupt:
            progress.stop()
            return _complain(
                f"interrupted: {stored} of {len(instances)} images were stored, the association"
                " was aborted.",
                INTERRUPTED,
            )
    return _conclude(report)


def _conclude(report: SendReport) -> int:
    total = len(report.sent)
    rate = report.stored / report.elapsed_s if report.elapsed_s > 0 else 0.0
    print(
        f"{report.stored} of {total} images stored at {report.peer}"
        f" in {report.elapsed_s:.1f} s ({rate:.1f} images/s)."
    )
    for reason, count in report.failures.items():
        print(f"  {count} failed: {reason}", file=sys.stderr)
    return OK if report.ok else SOME_FAILED


class _Rate(ProgressColumn):
    """Images per second so far."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} images/s")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _complain(what: object, code: int) -> int:
    print(f"scanside-scanner: {what}", file=sys.stderr)
    return code


def _peer(text: str) -> Peer:
    try:
        return Peer.parse(text)
    except PeerError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _title(text: str) -> str:
    try:
        return check_ae_title(text)
    except PeerError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-05-01.") from error


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1.")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of slices per second above 0.")
    return rate


def _pdu(text: str) -> int:
    # PS3.8 D.1.1 sets no lower bound; below 4096 some receivers refuse.
    if not text.isascii() or not text.isdigit() or not (text == "0" or int(text) >= 4096):
        raise argparse.ArgumentTypeError(f"{text!r} is not a PDU size: 0, or from 4096 bytes.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
