"""The entry to the plugin: every `parlai` command imports the modules of `parlai_internal.scripts`, including this."""

try:
    import parlai_persona  # noqa: F401  the import registers the plugin
    from parlai_persona.compat import errors

    errors.install()
except ImportError as error:
    import parlai.utils.logging as logging

    # ParlAI would swallow the ImportError, and the user would wonder why `persona:` is unknown.
    logging.error(f'The persona: plugin is off. {error}')
