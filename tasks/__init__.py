"""Teachers: one folder a task. Installs as `parlai_persona.tasks`."""
