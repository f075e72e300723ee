"""All targets by name."""

from __future__ import annotations

from tests.fuzz import archives, channels, commands, documents, modules, texts

TARGETS = {target.name: target for room in (archives, modules, texts, channels, documents, commands) for target in room.TARGETS}
