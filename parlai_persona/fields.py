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

SPEAKER = 'speaker'  # str: who replies, where a task knows people and not only what they say of themselves
DIALOGUES = 'dialogues'  # list of a person's dialogues, each with DIALOGUE_ID, PERSONA and MESSAGES
MESSAGES = 'messages'  # list of the turns of such a dialogue: text, labels, perhaps label_candidates
FOLDS = 'folds'  # list of {SUPPORT, QUERY}: places in DIALOGUES of what to learn from and of what to answer then
SUPPORT, QUERY = 'support', 'query'
REPLIES = 'replies'  # of an agent: for each fold the list of its replies to the messages of its query
