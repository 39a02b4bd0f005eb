"""Bandai-Namco-Research-Motiondataset 1 and 2 (arXiv 2306.08861): files and captions.

A file's name is all we know of it, `dataset-N_{content}_{style}_{id}.bvh`. What each content shows was
measured on the motion: raised hands come down again; turns start and end walking, 90 degrees in between;
set 1's walk-left and walk-right face ahead and move diagonally; bye waves the right hand, byebye both;
guide points with the right hand, respond raises the left; kicks spin. Hands rise high above the head in
most styles, to the head in the elderly one, to the chin in the feminine one, and the captions say no more
than that.
"""

import re
from functools import partial
from pathlib import Path

from dataset.captions import swap_left_right
from dataset.prepare.folder import Trial, split_by_strata
from dataset.prepare.grammar import Style, free_sentences, sentences

NAME = re.compile(r"dataset-([12])_([a-z-]+)_([a-z-]+)_(\d+)")
LOW, MIDDLE = ("feminine", "elderly"), ("normal",)     # how high set 2's hands rise; the others go overhead
# Set 2's turns whose motion is not their name's: the heading says so. None: another turn follows; left out.
CORRECTED = {"dataset-2_walk-turn-left_masculine_006": "walk-turn-right",
             "dataset-2_walk-turn-left_masculine_007": "walk-turn-right",
             "dataset-2_walk-turn-right_masculine_007": "walk-turn-left",
             "dataset-2_walk-turn-right_normal_004": "walk-turn-left",
             "dataset-2_walk-turn-right_normal_032": "walk-turn-left",
             "dataset-2_walk-turn-right_masculine_006": None, "dataset-2_walk-turn-right_normal_033": None,
             "dataset-2_walk-turn-left_normal_031": None, "dataset-2_walk-turn-left_normal_032": None,
             "dataset-2_walk-turn-left_normal_033": None}
SLOW = ("elderly", "old", "exhausted", "tired", "sad", "not-confident")

RUNS = ["{run} forward", "{run}", "{run} ahead", "{jog} forward", "{jog}", "{run} straight ahead",
        "{run} in a straight line", "{jog} along", "{move} forward at a run", "{trot} forward", "{run} along",
        "{go} for a run", "{go} jogging", "{run} across the room", "{jog} ahead", "{keep} running forward",
        "{hurry} forward at a run", "{run} onward", "{break} into a run", "{run} towards the front",
        "{run} over the floor", "{go} forward at a jog"]
FAST_RUNS = ["{race} ahead", "{sprint} forward", "{sprint}", "{dash} forward", "{rush} forward",
             "{bolt} ahead", "{charge} ahead", "{run} fast", "{run} quickly", "{speed} forward on foot",
             "{take} off running", "{run} rapidly in a straight line", "{tear} ahead",
             "{hurry} ahead as if late for a bus"]
DASHES = ["{dash}", "{run} at full speed", "{run} as fast as possible", "{sprint} at top speed",
          "{sprint} ahead", "{run} flat out", "{dash} ahead", "{race} forward at full tilt",
          "{sprint} as if in a race"]
WALKS = ["{walk} forward", "{walk}", "{walk} ahead", "{walk} straight ahead", "{walk} in a straight line",
         "{stroll} forward", "{stroll} along", "{stroll} ahead", "{move} forward on foot",
         "{go} forward on foot", "{take} several steps forward", "{take} a number of steps ahead",
         "{step} forward again and again", "{advance} at a walking pace", "{proceed} forward on foot",
         "{pace} forward", "{wander} ahead", "{amble} along", "{saunter} ahead", "{take} a walk",
         "{go} for a walk", "{head} straight on at a walk", "{put} one foot in front of the other",
         "{travel} forward by walking", "{cross} the room on foot", "{walk} across the floor",
         "{keep} walking forward", "{continue} walking ahead", "{walk} onward", "{walk} along",
         "{walk} towards the front", "{walk} down the street", "{go} ahead step by step"]
BRISK_WALKS = ["{stride} forward", "{stride} ahead", "{walk} at a good pace", "{march} ahead",
               "{walk} at a normal pace", "{walk} steadily forward"]
TURNS_LEFT = ["{walk} forward and {turn} left", "{walk} and {turn} left",
              "{walk} forward and {turn} to the left", "{walk} ahead, then {turn} left",
              "{walk} forward, then {turn} to the left", "{turn} left while walking",
              "{make} a left turn while walking", "{walk} and {make} a left turn",
              "{walk} and {take} a left turn", "{walk} forward and {make} a 90 degree turn to the left",
              "{walk} around a corner to the left", "{round} a corner to the left",
              "{walk} straight and then {head} left", "{walk} forward before turning left",
              "{take} a few steps, {turn} left and {keep} walking",
              "{change} direction to the left while walking", "{walk} and {hang} a left",
              "{walk} forward, {pivot} to the left and {walk} on", "{turn} left",
              "{walk} along a path that bends to the left", "{stroll} ahead and {turn} to the left",
              "{turn} to the left", "{rotate} ninety degrees counterclockwise while walking",
              "{turn} the corner on the left", "{walk} in a curve to the left",
              "{go} straight on, then {swing} around to the left", "{walk} a little way and {go} left",
              "{make} a left", "{go} around the corner to the left on foot",
              "{move} forward on foot, then {turn} ninety degrees left",
              "{turn} left in the middle of a walk", "{veer} off to the left in the middle of the walk",
              "{turn} leftward while moving ahead on foot", "{walk} forward and {make} a sharp left",
              "{make} a left-hand turn while strolling ahead",
              "{walk} straight ahead and {turn} towards @ left side"]
RAISES_LEFT = ["{raise} @ left hand", "{raise} @ left arm", "{lift} @ left hand", "{lift} @ left arm",
               "{put} @ left hand up", "{hold} up @ left hand", "{put} up @ left hand",
               "{raise} @ left hand and {lower} it again", "{lift} @ left arm, then {let} it drop",
               "{bring} @ left hand up and back down", "{stick} @ left hand up", "{move} @ left arm upward",
               "{raise} @ left hand as if to answer a question", "{raise} only @ left hand",
               "{ask} for attention by raising @ left hand", "{lift} up @ left hand",
               "{raise} up @ left hand", "{stand} still and {raise} @ left hand",
               "{raise} @ left hand while the right hand stays down", "{elevate} @ left arm",
               "{bring} @ left hand up", "{signal} with a raised left hand", "{raise} a hand, the left one",
               "{put} @ left arm up and {take} it down", "{volunteer} with @ left hand up"]
RAISES_LEFT_HIGH = ["{raise} @ left hand above the head", "{lift} @ left arm over the head",
                    "{raise} @ left arm overhead", "{reach} up with @ left hand",
                    "{stretch} @ left arm up high", "{thrust} @ left hand into the air",
                    "{put} @ left hand in the air", "{raise} @ left hand as if hailing a taxi",
                    "{hold} @ left hand up high", "{raise} @ left hand like a student in class",
                    "{extend} @ left arm towards the ceiling", "{point} to the sky with @ left hand",
                    "{shoot} @ left hand up", "{reach} for the ceiling with @ left arm"]
RAISES_LEFT_LOW = ["{raise} @ left hand to the height of the face", "{lift} @ left hand a little",
                   "{raise} @ left hand to chin level", "{raise} @ left hand just above the shoulder",
                   "{lift} @ left hand beside the head"]
RAISES_BOTH = ["{raise} both hands", "{raise} both arms", "{lift} both hands", "{lift} both arms",
               "{put} both hands up", "{raise} @ hands", "{raise} @ arms", "{lift} @ hands",
               "{put} @ hands up", "{hold} both hands up", "{put} up both arms",
               "{raise} both hands and {lower} them again", "{lift} @ arms, then {let} them drop",
               "{bring} both hands up and back down", "{raise} @ hands as if to surrender",
               "{surrender} with both hands up", "{raise} two hands", "{lift} up both hands",
               "{stand} still and {raise} both hands", "{put} @ arms up",
               "{raise} both arms at the same time", "{move} both arms upward",
               "{raise} the left and the right hand together"]
RAISES_BOTH_HIGH = ["{raise} both hands above the head", "{lift} both arms over the head",
                    "{raise} @ arms overhead", "{reach} up with both hands", "{stretch} both arms up high",
                    "{throw} both hands up in the air", "{put} @ hands in the air", "{reach} for the sky",
                    "{cheer} with both arms raised", "{hold} both hands up high",
                    "{celebrate} by throwing @ arms up", "{extend} both arms towards the ceiling",
                    "{thrust} both fists upward"]
RAISES_BOTH_LOW = ["{raise} both hands to the height of the face", "{lift} both hands a little",
                   "{raise} both hands to chin level", "{raise} @ hands just above the shoulders",
                   "{lift} both hands beside the head"]
WAVES_LEFT = ["{wave} @ left hand", "{wave} with @ left hand", "{wave} @ left arm",
              "{wave} hello with @ left hand", "{greet} someone with a wave of @ left hand",
              "{raise} @ left hand and {wave}", "{give} a wave with @ left hand",
              "{lift} @ left arm and {wave} it from side to side",
              "{shake} @ raised left hand from side to side", "{wave} at somebody with @ left hand",
              "{signal} to someone by waving @ left hand", "{wave} left-handed",
              "{swing} @ raised left hand back and forth", "{move} @ left hand from side to side in greeting",
              "{say} hi with @ left hand", "{say} goodbye by waving @ left hand",
              "{stand} and {wave} @ left hand", "{wave} to a friend with @ left arm",
              "{use} @ left hand to wave", "{wave} only @ left hand", "{put} @ left hand up and {wave} it",
              "{beckon} by waving @ left arm", "{greet} a neighbour with @ left hand",
              "{wave} @ left hand again and again", "{wave} with one hand, the left one"]
WAVES_LEFT_HIGH = ["{wave} @ left hand above the head", "{flag} someone down with @ left arm",
                   "{wave} @ left arm in the air", "{wave} @ left hand high over the head",
                   "{get} attention by waving @ left arm overhead", "{reach} up and {wave} @ left hand"]
WAVES_LEFT_LOW = ["{wave} @ left hand next to the face", "{give} a small wave with @ left hand",
                  "{wave} @ left hand at the height of the head"]
WAVES_BOTH = ["{wave} both hands", "{wave} with both hands", "{wave} both arms", "{wave} @ hands",
              "{wave} @ arms", "{wave} hello with both hands", "{greet} someone by waving with both hands",
              "{raise} both hands and {wave}", "{wave} both hands from side to side",
              "{wave} both arms to get attention", "{say} hi with both hands",
              "{swing} both raised hands from side to side", "{lift} both arms and {wave} them",
              "{wave} using two hands", "{signal} to someone by waving both arms",
              "{say} goodbye with both hands", "{stand} and {wave} both hands",
              "{shake} both raised hands from side to side", "{put} both hands up and {wave} them",
              "{wave} to a friend with both arms", "{move} both hands from side to side in greeting",
              "{use} both hands to wave", "{wave} with the left and the right hand at once",
              "{wave} two-handed"]
WAVES_BOTH_HIGH = ["{wave} both hands above the head", "{wave} both arms in the air",
                   "{signal} for help with both arms", "{wave} @ arms overhead",
                   "{wave} both hands high over the head", "{wave} both arms like a fan at a concert",
                   "{flag} someone down with both arms"]
WAVES_BOTH_LOW = ["{wave} both hands next to the face", "{give} a small wave with both hands",
                  "{wave} both hands at the height of the head"]
WALKS_BACK = ["{walk} backwards", "{walk} backward", "{step} back", "{step} backwards", "{back} up",
              "{back} away", "{retreat}", "{move} backwards on foot", "{go} backwards",
              "{take} several steps back", "{walk} in reverse", "{back} off", "{withdraw} step by step",
              "{pace} backwards", "{back} away from something", "{move} back",
              "{walk} backwards without turning around", "{move} away while still facing the front",
              "{stroll} backwards", "{reverse}", "{keep} stepping back",
              "{walk} backwards in a straight line", "{take} steps to the rear", "{retreat} on foot",
              "{move} in reverse", "{back} up step by step", "{walk} away backwards",
              "{take} a few paces backwards"]
WALKS_LEFT = ["{walk} diagonally to the left", "{walk} forward and to the left",
              "{drift} to the left while walking", "{walk} forward at an angle to the left",
              "{walk} toward the front left", "{move} diagonally left on foot", "{veer} left while walking",
              "{walk} ahead, slanting to the left", "{walk} forward while bearing left",
              "{edge} to the left while walking ahead", "{walk} leftwards", "{walk} to the left",
              "{move} left on foot", "{stroll} to the left", "{walk} to the left while facing ahead",
              "{go} left on foot", "{head} left at a walk", "{take} steps forward and left",
              "{walk} to @ left-hand side", "{walk} on a leftward diagonal"]
BOWS = ["{bow}", "{take} a bow", "{bow} politely", "{bend} forward in a bow", "{bow} to someone",
        "{greet} with a bow", "{bow} and {straighten} up again", "{make} a bow",
        "{lower} @ head and upper body", "{bow} @ head", "{bend} at the waist to bow",
        "{thank} the audience with a bow", "{bow} respectfully", "{lean} forward and {bow}",
        "{pay} respect by bowing", "{give} a bow", "{apologise} with a bow",
        "{bend} @ upper body forward and {rise} again", "{bow} from the waist",
        "{incline} @ body in greeting"]
BYES = ["{wave} goodbye", "{wave} goodbye with @ right hand", "{say} goodbye with @ right hand", "{wave} bye",
        "{wave} farewell with one hand", "{bid} someone farewell with a wave",
        "{wave} @ right hand at someone leaving", "{wave} someone off", "{wave} @ right hand",
        "{wave} with @ right hand", "{say} bye and {wave}", "{wave} with one hand",
        "{wave} @ right hand from side to side", "{wave} @ right hand to say see you later",
        "{give} a parting wave", "{see} someone off with a wave of @ right hand",
        "{wave} right-handed to a friend", "{wave} to someone"]
BYEBYES = ["{wave} goodbye with both hands", "{say} goodbye with both hands", "{wave} bye-bye with both arms",
           "{wave} both hands to say goodbye", "{wave} farewell using both hands",
           "{see} someone off, waving both hands", "{wave} someone off with both arms",
           "{bid} farewell with both hands", "{wave} with both hands", "{wave} both hands",
           "{wave} both arms", "{wave} both hands at someone leaving", "{wave} with two hands",
           "{say} bye-bye, waving the two hands", "{wave} both hands from side to side"]
GUIDES = ["{show} the way with @ right hand", "{guide} someone with a gesture", "{usher} someone in",
          "{show} someone the way", "{gesture} toward something with @ right hand",
          "{invite} someone to come in", "{direct} a visitor with @ right hand",
          "{hold} out @ right hand to show the way", "{extend} @ right arm in a welcoming gesture",
          "{point} out a direction", "{give} directions with @ right hand",
          "{present} something with an open right hand", "{offer} a seat with a gesture",
          "{welcome} a guest with a sweep of @ right arm", "{gesture} please, go ahead",
          "{indicate} where to go", "{reach} out @ right hand, showing the direction",
          "{lead} the way with a hand gesture"]
RESPONDS = ["{respond} by raising @ left hand", "{answer} a call with @ left hand up",
            "{raise} @ left hand in reply", "{reply} with a gesture of @ left hand",
            "{hold} up @ left hand to answer", "{raise} @ left hand to say yes",
            "{acknowledge} someone with a raised left hand", "{react} to a call by lifting @ left arm",
            "{answer} someone with @ left hand", "{lift} @ left hand in response"]
CALLS = ["{call} out to someone", "{call} someone over", "{call} for somebody",
         "{shout} to someone with @ hands helping", "{gesture} to get someone's attention",
         "{call} out and {gesture}", "{beckon} to somebody", "{hail} someone",
         "{shout} and {move} both hands", "{call} loudly across the street",
         "{summon} someone with a gesture"]
KICKS = ["{kick}", "{do} a spinning kick", "{do} a roundhouse kick", "{spin} around and {kick}",
         "{throw} a spinning kick", "{kick} high while turning", "{perform} martial arts kicks",
         "{kick} with @ right leg", "{deliver} a turning kick", "{practise} kicks from a fighting stance",
         "{whirl} around and {kick}", "{fight} with @ feet", "{kick} at an opponent"]
PUNCHES = ["{punch}", "{throw} punches", "{box}", "{punch} the air", "{throw} a punch",
           "{strike} with @ fists", "{jab}", "{throw} jabs from a fighting stance", "{shadow} box",
           "{fight} with @ fists", "{hit} at an opponent", "{stand} in a boxing stance and {punch}",
           "{practise} punches", "{attack} with @ fists", "{punch} like a boxer"]
SLASHES = ["{swing} a sword", "{slash} with a sword", "{cut} with a sword held in both hands",
           "{swing} a sword with both hands", "{strike} with a blade", "{wield} a katana",
           "{chop} downward as with an axe", "{practise} sword cuts", "{fight} with a sword", "{slash}",
           "{attack} with a sword", "{raise} a sword and {cut} downward", "{slice} the air", "{do} kendo",
           "{perform} sword strokes like a samurai"]
DANCES = ["{dance}", "{perform} a dance", "{dance} around", "{do} dance moves", "{dance} to music",
          "{groove} to the beat", "{move} to the rhythm", "{bust} some dance moves",
          "{show} off a dance routine", "{dance} energetically", "{dance} on the spot",
          "{practise} a choreography", "{dance} at a party", "{dance} like a pop star",
          "{swing} @ arms and legs to a song", "{do} a street dance", "{enjoy} dancing"]

OLD = Style(
    ("an old person", "an elderly person", "an elderly man", "an old man", "an old woman",
     "a senior citizen", "a grandfather", "a frail old person", "an aged person", "a very old man",
     "an elderly woman", "a grandpa", "an old guy", "the old man", "a pensioner", "the elderly person"),
    ("like an old person", "like an elderly man", "like an old man", "as if very old", "stiffly with age",
     "slowly and stiffly", "in an elderly manner", "like a grandparent", "with old, aching joints",
     "frailly", "slowly like a senior", "with a bent back", "with the slowness of old age",
     "as an old person would", "feebly"),
    ("hunched over", "with a stoop", "with small careful steps", "with stiff knees", "at an old man's pace"),
    ("bent with age,", "old and frail,", "stooped like an old man,", "slow with age,", "hunched over,"),
    ("{shuffle} forward", "{totter} ahead", "{hobble} along", "{walk} with a stoop",
     "{shuffle} along with short steps", "{toddle} forward on old legs", "{walk} slowly"),
    ("{jog} slowly", "{run} stiffly at a slow pace", "{shuffle} ahead at a slow jog"))
TIRED = Style(
    ("a tired person", "an exhausted person", "a weary person", "a worn-out person",
     "someone who is exhausted", "a fatigued man", "an exhausted man", "a person out of breath",
     "someone very tired", "a sleepy person", "a drained person", "the tired man",
     "a person without energy"),
    ("wearily", "tiredly", "as if exhausted", "with no energy left", "as if about to collapse", "sluggishly",
     "in an exhausted way", "while worn out", "like someone after a long day of work", "lethargically",
     "limply", "with fatigue", "as though completely drained", "with great effort"),
    ("dragging the feet", "on heavy legs", "staggering a little", "with drooping shoulders",
     "with trailing feet"),
    ("exhausted,", "tired and slumped,", "out of breath,", "worn out,", "half asleep,"),
    ("{trudge} forward", "{plod} along", "{drag} @ feet forward", "{stagger} ahead", "{walk} heavily",
     "{trudge} on"),
    ("{run} with tired legs", "{jog} wearily", "{struggle} to keep running"))
ACTIVE = Style(
    ("an energetic person", "an active person", "a lively person", "a sporty person", "a vigorous man",
     "someone full of energy", "an athletic person", "a dynamic person", "an enthusiastic person",
     "a peppy person"),
    ("energetically", "with a lot of energy", "actively", "vigorously", "in a lively way", "with vigor",
     "full of energy", "dynamically", "with enthusiasm", "in an energetic manner", "with great drive",
     "zestfully"),
    ("with a spring in the step", "swinging the arms", "with big, lively strides", "briskly"),
    ("full of energy,", "lively and quick,", "with enthusiasm,", "pumped up,"),
    ("{walk} briskly", "{power} walk", "{stride} out", "{walk} with swinging arms", "{walk} fast"),
    ("{run} vigorously", "{sprint} with full force"))
FEMININE = Style(
    ("a woman", "the woman", "a lady", "a girl", "a feminine person", "a young woman", "she",
     "a graceful woman", "an elegant lady", "a female character", "a fashion model"),
    ("in a feminine way", "femininely", "like a woman", "gracefully", "elegantly", "daintily",
     "in a ladylike manner", "delicately", "with feminine grace", "like a lady", "softly and gracefully"),
    ("with swaying hips", "like a model on a catwalk", "on light feet", "with the hips swinging"),
    ("with feminine grace,", "elegant and light,", "in a ladylike way,"),
    ("{walk} with swaying hips", "{sashay} forward", "{walk} like a fashion model"),
    ("{run} lightly like a girl", "{run} with the elbows tucked in"),
    "she")
MASCULINE = Style(
    ("a manly man", "a masculine person", "a macho man", "a burly man", "a tough guy", "a strong man",
     "a muscular man", "a big strong guy", "a broad-shouldered man", "a bodybuilder"),
    ("in a masculine way", "in a manly way", "like a tough guy", "with a macho attitude", "powerfully",
     "robustly", "with strength", "like a bodybuilder", "in a macho manner", "with broad shoulders",
     "sturdily"),
    ("with wide, heavy steps", "with a wide stance", "with a manly swagger"),
    ("manly and strong,", "with a puffed-out chest,", "in a macho way,"),
    ("{swagger} forward", "{walk} with a wide stance", "{stomp} ahead", "{walk} powerfully ahead"),
    ("{run} powerfully", "{charge} ahead like a strong man"))
YOUTHFUL = Style(
    ("a young person", "a teenager", "a youth", "a youthful person", "a young man", "a boy",
     "a cheerful youngster", "a spirited teenager", "a student", "a young adult"),
    ("youthfully", "like a teenager", "in a youthful way", "with youthful energy", "light-heartedly",
     "cheerfully", "like a young person", "with young, springy movements", "in a carefree way",
     "with a bounce"),
    ("with a bounce in the step", "with springy steps", "on springy feet", "with light, bouncy steps"),
    ("young and carefree,", "with youthful spirit,", "bouncy and light,"),
    ("{walk} with a bounce", "{bounce} along", "{walk} jauntily"),
    ("{run} with springy steps", "{bound} ahead"))
STYLES = {
    "normal": Style(
        ("a regular person", "an ordinary person", "an average person", "a calm person", "a relaxed person"),
        ("normally", "in a normal way", "naturally", "casually", "in an ordinary way", "calmly",
         "at an ordinary pace"),
        ("at a normal pace", "at a regular pace"),
        ("in a relaxed way,", "calmly,")),
    "elderly": OLD, "old": OLD, "exhausted": TIRED, "tired": TIRED, "active": ACTIVE, "feminine": FEMININE,
    "masculine": MASCULINE, "masculinity": MASCULINE, "youthful": YOUTHFUL,
    "happy": Style(
        ("a happy person", "a cheerful person", "a joyful man", "someone in a good mood",
         "a delighted person"),
        ("happily", "cheerfully", "joyfully", "with joy", "in a good mood", "merrily", "as if very happy",
         "gleefully"),
        ("with a skip in the step", "with bouncing, happy steps"),
        ("in high spirits,", "full of joy,", "happy,"),
        ("{skip} along happily", "{walk} with a happy bounce")),
    "sad": Style(
        ("a sad person", "an unhappy person", "a depressed man", "a gloomy person",
         "someone who feels down"),
        ("sadly", "gloomily", "with a hanging head", "as if very sad", "in a depressed mood", "unhappily",
         "with sorrow", "dejectedly"),
        ("with slow, heavy steps", "with the head down"),
        ("with the head hanging,", "full of sorrow,", "sad,"),
        ("{trudge} sadly forward", "{walk} slowly with @ head down", "{mope} along")),
    "angry": Style(
        ("an angry person", "a furious man", "an annoyed person", "someone in a rage",
         "an irritated person"),
        ("angrily", "furiously", "in anger", "as if very angry", "in a rage", "with irritation",
         "aggressively"),
        ("with stomping feet", "with hard, angry steps"),
        ("in a fit of anger,", "furious,", "boiling with rage,"),
        ("{stomp} forward", "{storm} ahead", "{walk} with angry steps")),
    "proud": Style(
        ("a proud person", "a haughty man", "a confident person", "a self-important person",
         "an arrogant man"),
        ("proudly", "haughtily", "with pride", "arrogantly", "with the chest out", "pompously",
         "with confidence"),
        ("with the nose in the air", "like a king"),
        ("with the chin up,", "full of pride,", "chest out,"),
        ("{strut} forward", "{parade} ahead", "{walk} with @ chest out")),
    "not-confident": Style(
        ("a timid person", "a shy person", "a nervous person", "an insecure man", "a hesitant person"),
        ("timidly", "shyly", "nervously", "without confidence", "hesitantly", "in an insecure way",
         "meekly"),
        ("with small uncertain steps", "with hesitant steps"),
        ("unsure,", "shy and nervous,", "lacking confidence,"),
        ("{walk} hesitantly", "{creep} forward nervously")),
    "childish": Style(
        ("a child", "a kid", "a little boy", "a small child", "a toddler", "a playful child"),
        ("like a child", "childishly", "playfully", "like a little kid", "in a childish way",
         "in a silly way"),
        ("with little skipping steps", "like a kid at play"),
        ("like a small child,", "playful,"),
        ("{toddle} forward", "{walk} like a toddler")),
    "musical": Style(
        ("a musical person", "a person listening to music", "a dancer", "a performer in a musical"),
        ("rhythmically", "as if to music", "in a musical way", "to the beat", "like in a musical",
         "in rhythm"),
        ("with dancing steps", "in time with the music"),
        ("moving to music,", "in rhythm,"),
        ("{dance} forward", "{walk} to the beat of a song")),
    "giant": Style(
        ("a giant", "a huge person", "a heavy giant", "a monster", "an ogre"),
        ("like a giant", "heavily", "ponderously", "like a huge monster", "with great weight",
         "like an ogre"),
        ("with huge heavy steps", "with thundering steps"),
        ("huge and heavy,", "like a giant,"),
        ("{stomp} forward like a giant", "{lumber} ahead")),
    "chimpira": Style(
        ("a thug", "a gangster", "a punk", "a street hoodlum", "a delinquent", "a rowdy man"),
        ("like a thug", "like a gangster", "in a rowdy way", "like a punk", "with a threatening attitude",
         "like a hooligan", "insolently"),
        ("with a swagger", "with rolling shoulders"),
        ("looking for trouble,", "like a thug,"),
        ("{swagger} ahead", "{walk} with a gangster's swagger")),
}


def content_phrases(content: str, style: str) -> list[str]:
    """All verb phrases that are true of a content in a style.

    raises   ValueError for a content or style that the two sets do not have
    """
    if style not in STYLES:
        raise ValueError(f"found the style {style!r}, expected one of {', '.join(STYLES)}")
    if "right" in content:
        return [swap_left_right(phrase) for phrase in content_phrases(swap_left_right(content), style)]
    how = STYLES[style]
    overhead = style not in LOW and style not in MIDDLE
    quick = style not in SLOW
    own = {"walk": how.walks * 2, "run": how.runs * 2}.get(content, ())
    by_height = {"raise-up-left-hand": (RAISES_LEFT, RAISES_LEFT_HIGH, RAISES_LEFT_LOW),
                 "raise-up-both-hands": (RAISES_BOTH, RAISES_BOTH_HIGH, RAISES_BOTH_LOW),
                 "wave-left-hand": (WAVES_LEFT, WAVES_LEFT_HIGH, WAVES_LEFT_LOW),
                 "wave-both-hands": (WAVES_BOTH, WAVES_BOTH_HIGH, WAVES_BOTH_LOW)}
    if content in by_height:
        plain, high, low = by_height[content]
        return plain + (high if overhead else low if style in LOW else [])
    table = {"walk": WALKS + (BRISK_WALKS if quick else []), "run": RUNS + (FAST_RUNS if quick else []),
             "dash": DASHES + FAST_RUNS + RUNS[:4], "walk-turn-left": TURNS_LEFT, "walk-back": WALKS_BACK,
             "walk-left": WALKS_LEFT, "bow": BOWS, "bye": BYES, "byebye": BYEBYES, "guide": GUIDES,
             "respond": RESPONDS, "call": CALLS, "kick": KICKS, "punch": PUNCHES, "slash": SLASHES,
             "dance-short": DANCES, "dance-long": DANCES}
    if content not in table:
        raise ValueError(f"found the content {content!r}, expected one of {', '.join([*table, *by_height])}")
    return table[content] + list(own)


def captions(content: str, style: str, clip_id: str) -> list[str]:
    """About ten sentences for one clip. Most of the grammar's say its style; plain ones also come from styled clips.

    The free ones let hands rise high, so that clips in which they do not have none.
    """
    hands = content.startswith(("raise", "wave"))
    styled = 0.15 if style == "normal" else 0.9 if hands and style in LOW else 0.65
    gait = content in ("run", "dash") or content.startswith("walk")
    told = sentences(clip_id, content_phrases(content, style), STYLES[style], styled, gait)
    if hands and style in LOW + MIDDLE:
        return told
    return told + free_sentences(clip_id, content.removesuffix("-short"), STYLES[style])


def trials(source: Path) -> tuple[list[Trial], list[str]]:
    """List the files of both sets below `source`, each with its split, and what is no file of theirs."""
    labels, skipped = {}, []
    for path in sorted(source.rglob("*.bvh")):
        match = NAME.fullmatch(path.stem)
        if match is None:
            skipped.append(f"{path.name}: found another name than dataset-N_content_style_id.bvh")
            continue
        number, content, style, _ = match.groups()
        content = CORRECTED.get(path.stem, content)
        try:
            if content is None:
                raise ValueError("the heading turns on after the turn of its name")
            content_phrases(content, style)
        except ValueError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        labels[path] = number, content, style
    # Set 1 has one file of most contents and styles: there the styles share a stratum.
    splits = split_by_strata({path.stem: f"{number} {content} {style if number == '2' else ''}"
                              for path, (number, content, style) in labels.items()}, val=0.04, test=0.06)
    return [Trial(path.stem, path, "bandai_namco", splits[path.stem], content.removesuffix("-short"),
                  partial(captions, content, style), shortest=150, phrases=tuple(content_phrases(content, style)),
                  style=style)
            for path, (_, content, style) in labels.items()], skipped
