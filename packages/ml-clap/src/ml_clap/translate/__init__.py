"""The translation factory: captions of further languages by machine, with a quality gate and provenance."""
