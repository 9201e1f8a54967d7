"""The names of the Message fields in which agents and tasks meet; ParlAI's own (`text`, `labels`, …) aside."""

PERSONA = 'persona'  # list of str: sentences about the speaker whose replies are the labels
PARTNER_PERSONA = 'partner_persona'  # list of str: sentences about the other speaker
DIALOGUE_ID = 'dialogue_id'  # str: the same for all turns of a dialogue, unique within a split
TURN = 'turn'  # int: 0 for the first reply of a dialogue

YOUR_PERSONA = 'your persona: '  # how ParlAI marks a line of PERSONA in `text`
PARTNERS_PERSONA = "partner's persona: "  # and of PARTNER_PERSONA
SILENCE = '__SILENCE__'  # how the data files write the missing turn before the opening one
KIND = 'kind'  # str: what sort of reply is asked for, where a task knows it; its README says which it has
TURNS = 'turns'  # int: how many turns the dialogue has, where a task judges whole dialogues
