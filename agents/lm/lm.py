"""`-m persona:lm`: a causal language model that replies as a persona."""

from parlai_persona.models.lm_agent import LanguageModelAgent


class LmAgent(LanguageModelAgent):
    pass
