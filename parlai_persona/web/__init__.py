"""The browser chat: `parlai persona_web` (docs/web.md). It needs the extra `web`."""
