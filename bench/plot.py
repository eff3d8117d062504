# SPDX-License-Identifier: BSL-1.0
"""Plots as SVG, with logarithmic axes: lines over a parameter, or bars where it has too few values for that."""
import html
import math

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 26, 12, 40


def colour(number):
    """The class of a side: tether is first, and has a colour of its own."""
    return f"c{number % 9}"


def axis(values):
    """(lowest, highest), as powers of ten that hold all values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def short(number):
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size and number % size == 0:
            return f"{number / size:g}{unit}"
    return f"{number:,}"


def time_tick(exponent):
    units = ("ns", "us", "ms", "s")
    which = max(0, min(exponent // 3, 3))
    return f"{10.0 ** (exponent - 3 * which):g} {units[which]}"


def tick(exponent, unit):
    if unit == "ns a GiB":
        return f"{10.0 ** (9 - exponent):g} GiB/s"
    return time_tick(exponent)


def lines(rows, sides, goals, parameter, unit):
    """`rows`: of one panel, ascending. `goals`: name of a line -> [(x, y)]."""
    times = [time for row in rows for time in row["fastest"].values()] + [y for line in goals.values() for _, y in line]
    low, high = axis(times)
    first, last = math.log10(rows[0]["at"]), math.log10(rows[-1]["at"])
    x = lambda value: LEFT + 22 + (math.log10(value) - first) / (last - first) * (WIDTH - LEFT - RIGHT - 22)
    y = lambda value: HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(unit)} by {html.escape(parameter)}">'
    for exponent in range(low, high + 1):
        at = y(10.0 ** exponent)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick(exponent, unit)}</text>'
    for row in rows:
        yield f'<text class="tick" x="{x(row["at"]):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(row["at"])}</text>'
    yield f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(parameter)}</text>'
    for name, points in goals.items():
        for px, py in ((x(at), y(value)) for at, value in points):
            yield (f'<line class="goal" x1="{px - 20:.1f}" x2="{px + 20:.1f}" y1="{py:.1f}" y2="{py:.1f}"><title>{html.escape(name)}'
                   "</title></line>")
    for number, side in reversed(list(enumerate(sides))):
        points = [(x(row["at"]), y(row["fastest"][side]), row) for row in rows if side in row["fastest"]]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
        yield f'<polyline class="line {colour(number)}" points="{path}"/>'
        for px, py, row in points:
            label = f"{side}, {row['at']} {parameter}: {row['fastest'][side]:.3g} {unit}"
            yield f'<circle class="dot {colour(number)}" cx="{px:.1f}" cy="{py:.1f}" r="3.2"><title>{html.escape(label)}</title></circle>'
    yield "</svg>"


def bars(rows, sides, goals, parameter, unit):
    times = [time for row in rows for time in row["fastest"].values()] + [y for line in goals.values() for _, y in line]
    low, high = axis(times)
    step, gap = 17, 26
    height = TOP + sum(gap + step * len(row["fastest"]) for row in rows) + BOTTOM
    names = 150
    x = lambda value: names + (math.log10(value) - low) / (high - low) * (WIDTH - names - RIGHT - 30)
    yield f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(unit)} by {html.escape(parameter)}">'
    for exponent in range(low, high + 1):
        at = x(10.0 ** exponent)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{tick(exponent, unit)}</text>'
    top = TOP
    for row in rows:
        yield f'<text class="tick" x="4" y="{top + 15}">{html.escape(parameter)}: {row["at"]}</text>'
        top += gap - 4
        begun = top
        for side in (one for one in sides if one in row["fastest"]):
            value = row["fastest"][side]
            style = colour(sides.index(side))
            yield f'<text class="tick" x="{names - 6}" y="{top + 11}" text-anchor="end">{html.escape(side)}</text>'
            yield (f'<rect class="bar {style}" x="{names}" y="{top + 1}" width="{max(x(value) - names, 1):.1f}" height="{step - 4}" rx="2">'
                   f'<title>{value:.3g} {html.escape(unit)}</title></rect>')
            top += step
        for name, points in goals.items():
            for at in (x(value) for where, value in points if where == row["at"]):
                yield (f'<line class="goal" x1="{at:.1f}" x2="{at:.1f}" y1="{begun - 3}" y2="{top + 1}"><title>{html.escape(name)}</title>'
                       "</line>")
        top += 4
    yield "</svg>"


def panel(rows, goals):
    """The plot of a panel's rows, with its legend."""
    rows = sorted((row for row in rows if row["fastest"]), key=lambda row: row["at"])
    sides = sorted({side for row in rows for side in row["fastest"]}, key=lambda side: (side != "tether", side))
    draw = lines if len(rows) >= 3 and rows[0]["at"] > 0 else bars
    yield from draw(rows, sides, goals, rows[0]["parameter"], rows[0]["unit"])
    if draw is lines:
        keys = "".join(f'<li><span class="key {colour(number)}"></span>{html.escape(side)}</li>' for number, side in enumerate(sides))
        yield f'<ul class="legend">{keys}</ul>'
