"""English function words, which say nothing about a persona: our own list, by closed word class.

PEDNet's evaluation left out 272 stop words, but that list is no longer available. Ours has only the closed classes of
English. It leaves out two groups of longer lists. Greetings and fillers ('hello', 'yes', 'really') are the part of a
reply that is not about the persona, so they have to lower precision. Frequent content words ('like', 'love', 'good',
'work') are what personas consist of.

Contractions appear whole, as in Persona-Chat ("i'm"), in the pieces of other tokenisers ("do n't", "i 'm"), and without
the apostrophe, as people type them ('dont').
"""

_PRONOUNS = """
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself
    it its itself we us our ours ourselves they them their theirs themselves
    one ones someone anyone everyone somebody anybody everybody nobody something anything everything nothing
    none who whom whose which what whoever whatever whichever
"""
_DETERMINERS = """
    a an the this that these those some any no every each either neither both all half few many much more most
    less least several enough other others another such same own
"""
_AUXILIARIES = """
    am is are was were be been being do does did doing done have has had having will would shall should can
    could cannot may might must ought
"""
_PREPOSITIONS = """
    about above across after against along among around as at before behind below beside besides between
    beyond by despite down during except for from in inside into near of off on onto out over per since
    through throughout till to toward towards under until up upon via with within without
"""
_CONJUNCTIONS = """
    and but or nor so yet if because although though unless while whereas whether than
"""
_ADVERBS = """
    not only too very just also even again there where when why how then now once here
"""
_CONTRACTIONS = """
    i'm you're he's she's it's we're they're that's there's here's what's who's where's when's how's let's
    i've you've we've they've would've could've should've might've must've
    i'd you'd he'd she'd it'd we'd they'd that'd i'll you'll he'll she'll it'll we'll they'll that'll there'll
    don't doesn't didn't isn't aren't ain't wasn't weren't haven't hasn't hadn't won't wouldn't can't couldn't
    shouldn't mustn't mightn't needn't
    im ive youre hes shes thats theyre dont doesnt didnt isnt arent wasnt werent havent hasnt hadnt wouldnt
    cant couldnt shouldnt
    n't ca wo s m re ve ll d t
"""

_WHOLE_WORDS = _PRONOUNS + _DETERMINERS + _AUXILIARIES + _PREPOSITIONS + _CONJUNCTIONS + _ADVERBS
STOP_WORDS: frozenset[str] = frozenset((_WHOLE_WORDS + _CONTRACTIONS).split())
