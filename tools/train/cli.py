"""The command line of training: ``scanside-train``.

Exit codes: 0 done; 1 the data or an earlier step does not allow it; 2 the command is wrong;
130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engines import PackageError, load_package, shipped_packages
from tools.train import plan_file as plans
from tools.train.examples import DataError
from tools.train.plan import Plan

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

_MORE = """the three steps, in order:
  scanside-train fit NAME --data DIR         train; goes on where it was interrupted
  scanside-train package NAME --data DIR     calibrate, measure, write the model package
  scanside-train eval NAME --data DIR        measure the package on pictures it has not seen

NAME is one of: {names};
or the path of a configuration of your own (.toml)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    chosen = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace, Plan], None] = chosen.run
    try:
        run(chosen, plans.read(chosen.name))
    except plans.PlanError as error:
        return _complain(error, WRONG)
    except (DataError, StepError) as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted. The same command goes on where it stopped.", INTERRUPTED)
    return OK


class StepError(RuntimeError):
    """A step cannot be done; the message says what is missing."""


def _complain(error: object, code: int) -> int:
    print(f"scanside-train: {error}", file=sys.stderr)
    return code


def _say(line: str) -> None:
    print(line, flush=True)


def _need_torch(threads: int) -> None:
    try:
        import torch  # noqa: PLC0415  # an extra: help and eval work without it
    except ModuleNotFoundError as error:
        raise StepError(
            "torch is missing. Install it with: pip install 'scanside[train]'"
        ) from error
    torch.set_num_threads(threads)


def _fit(chosen: argparse.Namespace, plan: Plan) -> None:
    _need_torch(chosen.threads)
    from tools.train import courses  # noqa: PLC0415
    from tools.train.fit import FitError  # noqa: PLC0415

    try:
        if chosen.ungrouped:
            courses.run_ungrouped(plan, chosen.data, chosen.runs, say=_say)
        else:
            courses.run(plan, chosen.data, chosen.runs, only=chosen.fold, say=_say)
    except FitError as error:
        raise StepError(str(error)) from error


def _package(chosen: argparse.Namespace, plan: Plan) -> None:
    _need_torch(chosen.threads)
    from tools.train import packaging  # noqa: PLC0415
    from tools.train.export import ExportError  # noqa: PLC0415
    from tools.train.fit import FitError  # noqa: PLC0415

    out = chosen.out or shipped_packages() / plan.name
    try:
        packaging.make(plan, chosen.data, chosen.runs, out, threads=chosen.threads, say=_say)
    except (FitError, ExportError) as error:
        raise StepError(str(error)) from error


def _eval(chosen: argparse.Namespace, plan: Plan) -> None:
    from tools.train import evaluating  # noqa: PLC0415

    try:
        package = load_package(chosen.package or shipped_packages() / plan.name)
    except PackageError as error:
        raise StepError(str(error)) from error
    report = evaluating.run(plan, package, chosen.data, threads=chosen.threads)
    evaluating.show(report, _say)
    if chosen.json is not None:
        evaluating.write(report, chosen.data, chosen.json)


def _alarms(chosen: argparse.Namespace, plan: Plan) -> None:
    from tools.train import alarms  # noqa: PLC0415

    try:
        package = load_package(chosen.package or shipped_packages() / plan.name)
    except PackageError as error:
        raise StepError(str(error)) from error
    report = alarms.run(package, chosen.series, axial=chosen.axial, threads=chosen.threads)
    alarms.show(report, _say)
    if chosen.json is not None:
        alarms.write(report, chosen.json)


def _curve(chosen: argparse.Namespace, plan: Plan) -> None:
    _need_torch(chosen.threads)
    from rich.console import Console  # noqa: PLC0415
    from rich.markdown import Markdown  # noqa: PLC0415

    from tools.train import curve  # noqa: PLC0415
    from tools.train.fit import FitError  # noqa: PLC0415

    aims: list[tuple[curve.Level, float]] = [
        ("slice", chosen.slice_aim),
        ("study", chosen.study_aim),
    ]
    shares = chosen.share or [0.25, 0.5]
    try:
        found = curve.measure(plan, chosen.data, chosen.runs, shares, aims, say=_say)
    except FitError as error:
        raise StepError(str(error)) from error
    Console().print(Markdown(curve.words(found)))


def _acquaint(chosen: argparse.Namespace, plan: Plan) -> None:
    from tools.train import acquainting  # noqa: PLC0415

    try:
        package = load_package(chosen.package or shipped_packages() / plan.name)
    except PackageError as error:
        raise StepError(str(error)) from error
    acquainting.run(plan, package, chosen.data, chosen.version, say=_say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scanside-train",
        description="Train, measure and package Scanside's models, or your own on your own data.",
        epilog=_MORE.format(names=", ".join(plans.known())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    fit = steps.add_parser("fit", help="train a model; resumable at every epoch")
    _common(fit)
    fit.add_argument("--fold", type=int, help="train this fold alone (0: the one that ships)")
    fit.add_argument(
        "--ungrouped",
        action="store_true",
        help="train one more network, for the card, on a split that ignores look-alikes",
    )
    fit.set_defaults(run=_fit)
    package = steps.add_parser("package", help="calibrate, measure and write the model package")
    _common(package)
    package.add_argument(
        "--out", type=Path, metavar="DIR", help="the package's folder (default: the one that ships)"
    )
    package.set_defaults(run=_package)
    evaluate = steps.add_parser("eval", help="measure a package on pictures it has not seen")
    _common(evaluate)
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    evaluate.add_argument(
        "--package", type=Path, metavar="DIR", help="the package (default: the one that ships)"
    )
    evaluate.set_defaults(run=_eval)
    alarms = steps.add_parser(
        "alarms", help="count the false alarms on whole series of people without the finding"
    )
    alarms.add_argument("name", metavar="NAME", help="a model, or the path of a configuration")
    alarms.add_argument(
        "series",
        metavar="SERIES",
        type=Path,
        nargs="+",
        help="a NIfTI file, or a folder that holds one DICOM series",
    )
    alarms.add_argument(
        "--axial", action="store_true", help="cut NIfTI volumes axially, however they were acquired"
    )
    alarms.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    alarms.add_argument(
        "--package", type=Path, metavar="DIR", help="the package (default: the one that ships)"
    )
    alarms.add_argument("--threads", type=int, default=1, help="threads (default 1)")
    alarms.set_defaults(run=_alarms)
    curve = steps.add_parser("curve", help="measure what more patients would bring")
    _common(curve)
    curve.add_argument(
        "--share",
        type=_share,
        action="append",
        metavar="SHARE",
        help="of each fold's patients, 0 to 1; may be given again (default 0.25 and 0.5)",
    )
    curve.add_argument(
        "--slice-aim",
        type=_share,
        default=0.90,
        metavar="AREA",
        help="the area under the curve to follow the line to (default 0.90)",
    )
    curve.add_argument(
        "--study-aim", type=_share, default=0.88, metavar="AREA", help="the same by study (0.88)"
    )
    curve.set_defaults(run=_curve)
    acquaint = steps.add_parser(
        "acquaint", help="teach a package which pictures it does not know; weights stay as they are"
    )
    _common(acquaint)
    acquaint.add_argument(
        "--package", type=Path, metavar="DIR", help="the package (default: the one that ships)"
    )
    acquaint.add_argument("--version", required=True, help="of the package that is written")
    acquaint.set_defaults(run=_acquaint)
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def _common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="a model, or the path of a configuration (.toml)")
    add("--data", type=Path, required=True, metavar="DIR", help="the folder of pictures and labels")
    add("--threads", type=int, default=1, help="threads (default 1; more only help on idle cores)")
    add(
        "--runs",
        type=Path,
        default=Path("build/train"),
        metavar="DIR",
        help="where checkpoints are kept (default build/train)",
    )


if __name__ == "__main__":
    sys.exit(main())
