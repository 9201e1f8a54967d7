"""Agents: one folder a method. Installs as `parlai_persona.agents`."""
