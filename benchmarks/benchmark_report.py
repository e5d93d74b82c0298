"""The results as GitHub Markdown, and what they were measured on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from solver_comparison import AGREEMENT
from time_to_solution import best_seconds

PACKAGES = (
    "keras-spectral-tl",
    "numpy",
    "scipy",
    "pyfftw",
    "numba",
    "fluidsim",
    "fluidfft",
    "tensorflow",
)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")

Results = dict[str, Any]


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **{name: os.environ.get(name) for name in THREAD_VARIABLES},
    }


def _processor() -> str:
    """The model as the system names it; several share one name, so with numbers."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    name = facts.get("model name", platform.machine())
    if "cpu family" not in facts:
        return name
    return f"{name} (family {facts['cpu family']}, model {facts.get('model', '?')})"


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cost_table(rows: list[Results]) -> str:
    has_peer = any("peer" in row for row in rows)
    header = ["N", "threads", "floor ms", "RHS ms", "RHS / floor", "step / 4 ms"]
    header += ["step / 4 / floor"]
    if has_peer:
        header += ["fluidsim RHS ms", "RHS speed-up", "fluidsim step / 4 ms"]
        header += ["step speed-up"]
    body = []
    for row in rows:
        line = [str(row["num_points"]), str(row["threads"])]
        line += [_ms(row["floor"]), _ms(row["right_hand_side"])]
        line += [f"{row['right_hand_side_ratio']:.2f}", _ms(row["quarter_step"])]
        line += [f"{row['quarter_step_ratio']:.2f}"]
        if has_peer:
            line += [_ms(row["peer_right_hand_side"])]
            line += [f"{row['right_hand_side_speed_up']:.2f}"]
            line += [_ms(row["peer_quarter_step"])]
            line += [f"{row['quarter_step_speed_up']:.2f}"]
        body.append(line)
    return table(header, body)


def agreement_table(rows: list[Results]) -> str:
    header = ["N", "threads", "modes kept by both", "right-hand side", "t", "steps"]
    return table(
        [*header, "end field"],
        [
            [
                str(row["num_points"]),
                str(row["threads"]),
                str(row["modes_kept"]),
                f"{row['tendency']:.1e}",
                f"{row['duration']:g}",
                str(row["num_steps"]),
                f"{row['end_field']:.1e}",
            ]
            for row in rows
        ],
    )


def solution_table(result: Results) -> str:
    body = []
    for name in ("own", "peer"):
        for kind in ("equal_steps", "chosen_steps"):
            way = result.get(name, {}).get(kind)
            if way:
                line = [result[name]["solver"], way["setting"], f"{way['error']:.1e}"]
                body.append([*line, f"{way['seconds']:.2f}"])
    return table(["solver", "steps", "error", "seconds"], body)


def setting_up(seconds: dict[str, float]) -> str:
    pairs = (f"{name} {value:.2f} s" for name, value in seconds.items())
    return (
        f"Before the first step, in a fresh process, imports apart: {', '.join(pairs)}."
    )


def threads_table(rows: list[Results]) -> str:
    header = ["beside", "threads", "OMP_WAIT_POLICY", "RHS ms"]
    header += ["CPU / main thread's CPU", "RHS slower by", "neighbour slower by"]
    body = []
    for row in rows:
        line = [row["neighbour"], str(row["threads"]), row["wait_policy"] or "-"]
        if "left_out" in row:
            body.append([*line, f"left out: {row['left_out']}", "-", "-", "-"])
            continue
        line += [_ms(row["right_hand_side"]), f"{row['cpu_over_main_thread']:.2f}"]
        for name in ("right_hand_side_slowdown", "neighbour_slowdown"):
            line.append(f"{row[name]:.2f}" if name in row else "-")
        body.append(line)
    return table(header, body)


def processes_table(rows: list[Results]) -> str:
    return table(
        [
            "processes",
            "threads each",
            "times as fast as one process of one thread",
        ],
        [
            [str(row["processes"]), str(row["threads"]), f"{row['speed_up']:.2f}"]
            for row in rows
        ],
    )


def claims(results: Results) -> list[dict[str, Any]]:
    """What the solver promises, beside what was measured."""
    found: list[dict[str, Any]] = []

    def claim(text: str, measured: float, met: bool) -> None:
        found.append({"claim": text, "measured": measured, "met": met})

    serious = not results["quick"]
    costs = [row for row in results["rows"] if serious and row["threads"] == 1]
    for size, most in ((64, 1.5), (256, 1.15), (512, 1.15)):
        for row in costs:
            if row["num_points"] == size:
                ratio = row["right_hand_side_ratio"]
                claim(
                    f"RHS / floor at N = {size}: at most {most}", ratio, ratio <= most
                )
    for name, what in (("right_hand_side", "RHS"), ("quarter_step", "step")):
        ratios = [r[f"{name}_speed_up"] for r in costs if f"{name}_speed_up" in r]
        if ratios:
            text = f"{what}: at least 2 times as fast as the peer (the worst N)"
            claim(text, min(ratios), min(ratios) >= 2.0)
    for result in results["time_to_solution"]:
        if serious and result["threads"] == 1 and "peer" in result:
            ratio = best_seconds(result, "peer") / best_seconds(result, "own")
            claim("time to solution: at least 2 times as fast", ratio, ratio >= 2.0)
    if results["agreement"]:
        worst = max(max(r["tendency"], r["end_field"]) for r in results["agreement"])
        claim(f"agreement to {AGREEMENT:g}", worst, worst <= AGREEMENT)
    return found


def claims_table(rows: list[Results]) -> str:
    body = [
        [row["claim"], f"{row['measured']:.3g}", "yes" if row["met"] else "**no**"]
        for row in rows
    ]
    return table(["claim (one thread)", "measured", "met"], body)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def document(results: Results) -> str:
    """All tables that have something in them, under headings."""
    host = results["machine"]
    installed = ((name, v) for name, v in results["versions"].items() if v)
    parts = [
        f"{host['processor']}, {host['cores']} cores, {host['system']}; load average "
        f"{host['load_average']:.1f} before, {host['load_average_at_end']:.1f} after; "
        f"planner {results['planner']}, {results['clock']} clock.",
        ", ".join(f"{name} {found}" for name, found in installed),
    ]
    if results["quick"]:
        parts.append("A smoke test: the figures mean nothing.")
    if results["peer"] != "fluidsim":
        parts.append(results["peer"])
    if results["claims"]:
        parts += ["### Claims", claims_table(results["claims"])]
    if results["rows"]:
        parts += ["### Cost of a right-hand side", cost_table(results["rows"])]
    if results["agreement"]:
        parts += ["### Agreement", agreement_table(results["agreement"])]
    for result in results["time_to_solution"]:
        heading = f"### Time to solution, {result['threads']} thread(s)"
        parts += [heading, solution_table(result)]
        if "setting_up" in result:
            parts.append(setting_up(result["setting_up"]))
    if "neighbours" in results["threads"]:
        table_ = threads_table(results["threads"]["neighbours"])
        parts += ["### Threads beside other pools", table_]
    if "processes" in results["threads"]:
        table_ = processes_table(results["threads"]["processes"])
        parts += ["### Two simulations on two cores", table_]
    return "\n\n".join(parts)
