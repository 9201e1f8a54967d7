"""Which words are in the dictionary, and which of them can be verbs: rule (iii) without a tagger."""

import gzip
from collections.abc import Iterator
from importlib import resources

from parlai_persona.data.dialogue import DataError


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The lexicon lists only the base form of these verbs; and the rests of contractions: I 'm, don 't.
AUXILIARIES = words(
    'am is are was were be been being has have had having do does did will would can could may might must shall should '
    'm s d ve re ll don doesn didn isn aren wasn weren haven hasn hadn won wouldn couldn shouldn cannot dont didnt '
    'doesnt isnt wasnt cant wont im ive ill id gonna wanna gotta'
)
# The lexicon lists these as verbs, too, but they are nearly always something else.
OTHERS = words(
    'a i the in on out up down no well so even back off over my me you it not too now then here there and but or if ok '
    'yes still just very through round near past right only better best last long short clear clean dry cool warm '
    'open free due same other more most less fine sure good bad worse worst above about again all any at by for from '
    'of to with what who how why when where which that this these those than as like one two'
)
LIKE = frozenset({'like'})  # "I like it" is what personas are made of

# The lexicon has nouns, verbs, adjectives and adverbs alone.
FUNCTION_WORDS = words(
    'a about above across after again against all along although am amid amidst among amongst an and another any '
    'anybody anyone anything are around as at atop be because been before behind being below beneath beside besides '
    'between beyond both but by can cannot concerning could despite down during each either else every everybody '
    'everyone everything except few following for from he hence her here hers herself him himself his how however i '
    'if in inside instead into is it its itself lest like many may me might mine more most much must my myself near '
    'neither nevertheless no nobody none nor not nothing now of off on once one oneself onto or other others ought '
    'our ours ourselves out outside over own past per plus same several shall she should since so some somebody '
    'someone something such than that the their theirs them themselves then there therefore these they this those '
    'though through throughout till to together toward towards under underneath unless unlike until unto up upon us '
    'versus via was we were what whatever when whenever where whereas wherever whether which whichever while who '
    'whoever whole whom whomever whose why will with within without would yet you your yours yourself yourselves zero '
    'two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen '
    'nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion first '
    'second third fourth fifth sixth seventh eighth ninth tenth'
)
# USER, EMAIL and URL are among them: they stand for something else.
EVERYDAY = words(
    'aint arent couldnt hadnt hasnt havent shouldnt wasnt werent wouldnt thats theres theyre theyll theyve youre '
    'youll youve youd whats whos wheres hes shes lets ain hows gotta gonna wanna kinda sorta dunno lemme gimme tryna '
    'outta lotta yall ah aha aw aww ay bah bye dang duh eh er erm gee ha haha hahaha heh hehe hey hi hm hmm hmmm huh '
    'lol meh mm mmm nah nope oh ok okay omg ooh oops ouch ow phew pssst sheesh shh tsk ugh uh uhh um umm whoa wow ya '
    'yay yeah yep yikes yo yup afaik aka asap atm btw cf dm dr eg etc ffs ftw fwiw fyi icymi idk ie iirc imho imo irl '
    'jk jr lmao lmfao mr mrs ms nb np nsfw nvm pls plz ppl ps rofl rip sfw smh sr st tbh thx tldr tl til tifu ttyl tv '
    'vs wtf ama op ops ot reddit subreddit subreddits redditor redditors reddits repost reposts upvote upvotes '
    'upvoted downvote downvotes downvoted karma mod mods admin admins app apps blog blogs blogger blogging wiki '
    'website websites email emails online offline login username google internet link links meme memes podcast '
    'podcasts selfie emoji url urls html http https www com org net edu gov io pdf faq jpg jpeg png gif mp3 mp4 amp '
    'gt lt nbsp quot pc pcs cpu gpu usb ios ad ads bbq bs bro cd cds dvd dvds geek geeks hr id ids iq it la mac mba '
    'mph phd porn pro pub rn tech uni uk us usa usd eu un nyc dc am pm cm km kg lb lbs ft jan feb mar apr jun jul aug '
    'sep sept oct nov dec mon tue wed thu fri sat sun mom moms dad dads kid kids guy guys dude dudes shit shitty fuck '
    'fucking fucked fucker bullshit asshole damn crap crappy cuz coz def defo legit tho thru alot atleast anyways '
    'anymore somewhat dont didnt user non pre info prep lab labs cafe cafes dev biz diy indie ur fam timeline '
    'timelines'
)


def verbs() -> frozenset[str]:
    """Return every form of every English verb, in lower case."""
    forms = {form for part, form in entries() if part == 'verb'}
    return frozenset((forms - OTHERS) | AUXILIARIES | LIKE)


def dictionary() -> frozenset[str]:
    """Return every form of every word, in lower case."""
    return frozenset(form for _, form in entries()) | FUNCTION_WORDS | EVERYDAY | AUXILIARIES | OTHERS


def entries() -> Iterator[tuple[str, str]]:
    """Yield the lexicon's parts of speech and forms in lower case, from lines `lemma,part of speech,form,…`."""
    try:
        file = resources.files('lemminflect').joinpath('resources/infl_lu.csv.gz')
        with file.open('rb') as raw, gzip.open(raw, 'rt', encoding='utf-8') as lines:
            for line in lines:
                lemma, part, *forms = line.rstrip('\n').lower().split(',')
                spellings = (spelling for form in forms for spelling in form.split('/'))  # of a form
                yield from ((part, form) for form in (lemma, *spellings) if form)
    except (ImportError, FileNotFoundError):
        raise DataError(
            "finding words needs the lexicon of the package lemminflect: pip install 'parlai-persona[reddit]'"
        ) from None
