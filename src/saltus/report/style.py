"""The one palette: colours that colour-blind readers can tell apart, for light and dark pages.

Okabe and Ito's hues (2008), darkened or lightened until each has enough contrast with the page.
Beyond the seventh curve the colours come again with another dash.
"""

from __future__ import annotations

LIGHT = ("#0369a8", "#c8500a", "#0b8560", "#a8417f", "#a97400", "#3d8fc4", "#5b6470")
DARK = ("#5cb3ee", "#ff8f55", "#3fcb9f", "#e597c6", "#f0bd4c", "#9fd6fa", "#b4bcc8")
INK, SOFT = "#1b1f27", "#555b66"
POSITIVE, NEGATIVE = "#0b5c96", "#be4e08"  # colours that stand for values, as in page.css
MIDDLE = "#c3bfb4"  # between them, for points: on paper they are seen
DASHES = ("", "7 3", "2 2.5")

MISSING = "#ecebe6"  # where there is no value

# Opacities, the same as in page.css.
BAND_ALL, BAND_HALF, BAND_INTERVAL, SEED_LINE = 0.13, 0.26, 0.15, 0.32
SPAN = 0.09


def interval_opacity(bands: int) -> float:
    """Of one of several intervals over each other: where many start, they stay apart."""
    return round(BAND_INTERVAL * min(1.0, 3 / max(bands, 1)), 3)


def color(place: int | None) -> str:
    """The colour on white paper of what stands at a place of the palette; None: the text's."""
    return INK if place is None else LIGHT[place % len(LIGHT)]


def darker(place: int | None) -> str:
    """The same colour on its way to the text's, to be seen upon its own curve (page.css: 35 %)."""
    channels = zip(bytes.fromhex(color(place)[1:]), bytes.fromhex(INK[1:]), strict=True)
    return "#" + bytes(round(0.35 * own + 0.65 * ink) for own, ink in channels).hex()


def css_class(place: int | None) -> str:
    """The class of page.css that has this colour."""
    return "ink" if place is None else f"k{place % len(LIGHT)}"


def dash(place: int) -> str:
    """Its dash pattern in pixels, empty for a solid line."""
    return DASHES[place // len(LIGHT) % len(DASHES)]


def css_variables() -> str:
    """The palette as custom properties --c0 … --c6 for both colour schemes."""
    light = "".join(f"--c{place}:{value};" for place, value in enumerate(LIGHT))
    dark = "".join(f"--c{place}:{value};" for place, value in enumerate(DARK))
    return (
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}\n"
    )
