"""A study's page in the documentation."""

from convworks.studies.answer import Answer, duration
from convworks.studies.figures import FIGURES
from convworks.studies.luck import LEAST_SEEDS, LEVEL
from convworks.studies.study import Settings, show_value

FIRST = "*Written for the figures that were found first; those above may be another machine's.*"


def as_page(found: Answer, command: str, picture: str) -> str:
    """A Markdown page with all of it, written by that command, beside that picture."""
    study = found.study
    headings = [heading for heading, _ in found.headings()]
    align = ["---:" if number else "---" for _, number in found.headings()]
    rows = [headings, align, *found.rows()]
    reading = study.reading.get(found.budget)
    lines = [
        f"# {study.question}",
        "",
        f"Asked by {study.source}. Written by `{command}`; do not edit.",
        "",
        f"**Held fixed:** {_settings(study.fixed.under(study.plans[found.budget].settings))}.",
        "",
        *_varied(found),
        "",
        "## Found",
        "",
        *("| " + " | ".join(cells) + " |" for cells in rows),
        "",
        *([f"![{study.question}]({picture})", ""] if found.drawable else []),
        *(f"- {line}" for line in found.lines()),
        "",
        _method(found),
        "",
        "## Reading",
        "",
        f"{FIRST}\n\n{reading}" if reading else "Not read yet: nobody has looked at this result.",
    ]
    text = "\n".join(lines) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def _settings(settings: Settings) -> str:
    """In words, as they stand in the file."""
    named = {
        "network": settings.network,
        "data": settings.data,
        "image size": settings.image_size,
        "pictures to train and validate with": settings.train_images,
        **settings.options,
        **settings.train,
    }
    return ", ".join(
        f"{name} {_value(value)}" for name, value in named.items() if value is not None
    )


def _value(value: object) -> str:
    return "`" + str(value).lower() + "`" if isinstance(value, bool) else f"`{value}`"


def _varied(found: Answer) -> list[str]:
    """What the variants and the axis change, as far as the budget has them."""
    study = found.study
    tried = {cell.variant for cell in found.cells}, {cell.value for cell in found.cells}
    lines = ["| variant | is |", "|---|---|"]
    for name, settings in study.variants.items():
        if name in tried[0]:
            lines.append(f"| {name} | {_settings(settings) or 'as above'} |")
    if study.axis is not None:
        lines += ["", f"| {study.axis.label} | is |", "|---|---|"]
        for point in study.axis.points:
            if point.value in tried[1]:
                lines.append(
                    f"| {show_value(point.value)} | {_settings(point.settings) or 'as above'} |"
                )
    return lines


def _method(found: Answer) -> str:
    """Seeds, luck and machine."""
    study, sentences = found.study, []
    seeds = study.plans[found.budget].seeds
    tested = sum(one.p is not None for one in found.comparisons)
    if study.trained:
        sentences.append(
            f"Budget `{found.budget}`: {seeds} seed{'s' * (seeds > 1)} for each row; ± is the"
            " standard deviation between seeds. The epoch that is best on validation is judged on"
            " the test part."
        )
        if seeds < LEAST_SEEDS:
            sentences.append("So few seeds do not tell a difference from luck.")
        elif tested:
            sentences.append(
                f"*Beyond luck*: Welch's t test over the seeds, two-sided, gives p < {LEVEL:g},"
                f" corrected by Holm's method for {tested} comparison{'s' * (tested > 1)}."
            )
    if any(FIGURES[name].how == "measured" for name in study.measure):
        sentences.append(
            "Speeds are medians of repeated windows; ± is half of the way from the slowest to the"
            " fastest."
        )
    if "training_memory" in study.measure:
        sentences.append("Memory is predicted for a step of the run, the weights included.")
    if "measured_memory" in study.measure:
        sentences.append("Memory is measured in a step of AdamW, the weights included.")
    return " ".join([*sentences, *_machines(found), *_not_run(found)])


def _machines(found: Answer) -> list[str]:
    """A sentence for each machine with its versions, and the precisions of its runs."""
    precisions: dict[str, list[str]] = {}
    for place in found.places:
        gpu = f" and {place['gpu']}" if place["gpu"] else ""
        machine = (
            f"On {place['cpu']}{gpu}, threads: {place['threads']}, PyTorch {place['torch']},"
            f" convworks {place['convworks']}"
        )
        precisions.setdefault(machine, []).append(str(place["precision"]))
    return [f"{machine}, in {' and '.join(used)}." for machine, used in precisions.items()]


def _not_run(found: Answer) -> list[str]:
    """What is missing of the full budget, on a page of the quick one."""
    made, planned = found.full
    if found.budget == "full" or made == planned:
        return []
    if made:
        return [f"Of the full budget's {planned} runs {made} have been made."]
    minutes = found.study.plans["full"].minutes
    cost = f", {duration(minutes)} on two cores" if minutes else ""
    return [f"The full budget has not been run: {planned} runs{cost}."]
