"""Films: maps and scatters over training behind one slider, beside the loss."""

from saltus.report.films.record import Cloud, Film, Maps, Take, film, take

__all__ = ["Cloud", "Film", "Maps", "Take", "film", "take"]
