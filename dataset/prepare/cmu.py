"""CMU Graphics Lab Motion Capture Database: trials, CMU's one-line descriptions, HumanML3D's human captions.

`NN/NN_MM.bvh`, or `NN/NN_MM.amc` with its `NN/NN.asf`. A description becomes sentences through a table.
Long trials show only a part of their description in each window, so their sentences stay general.
"""

import csv
import json
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

from dataset.captions import swap_left_right
from dataset.prepare.bandai_namco import BRISK_WALKS, FAST_RUNS, PUNCHES, RUNS, TURNS_LEFT, WALKS
from dataset.prepare.folder import Segment, Trial, split_by_strata
from dataset.prepare.grammar import free_sentences, sentences

NAME = re.compile(r"\d+_\d+")
HUMANML3D_FPS = 20
PARTNERS = {"19": "18", "21": "20", "23": "22", "34": "33", "61": "60"}    # subjects who act together
LONGER = {"69": 150}    # frames of a window of trials in which things of some seconds take turns

JUMPS = ["{jump}", "{jump} up", "{jump} into the air", "{leap} up", "{jump} once", "{do} a jump",
         "{jump} up and {land}", "{bend} @ knees and {jump}", "{jump} with both feet",
         "{spring} up from the floor", "{hop} up with both feet"]
HIGH_JUMPS = ["{jump} high", "{do} a high jump", "{jump} as high as possible", "{leap} high into the air",
              "{jump} straight up", "{take} a big jump upward", "{jump} high off the ground", *JUMPS]
FORWARD_JUMPS = ["{jump} forward", "{leap} forward", "{do} a long jump", "{jump} ahead",
                 "{make} a jump to the front", "{jump} a long way forward", "{take} a big leap ahead",
                 "{hop} forward with both feet", "{bound} forward", "{do} a standing long jump", "{jump}",
                 "{spring} forward"]
JACKS = ["{exercise}", "{do} exercises", "{work} out", "{warm} up", "{do} gymnastics", "{train}",
         "{do} a workout", "{warm} up with exercises", "{do} morning exercises", "{do} some calisthenics"]
REACHES = ["{jump} to grab something overhead", "{reach} up for something high",
           "{stretch} up to reach a shelf", "{stand} on tiptoe and {reach} up",
           "{try} to grab something above", "{reach} for an object overhead",
           "{take} something from a high shelf"]
CLIMBS = ["{climb}", "{climb} on playground equipment", "{clamber} around on a climbing frame",
          "{play} on a playground", "{climb} around on a jungle gym", "{climb} over bars at the playground",
          "{play} on a climbing frame"]
BALLET = ["{dance}", "{dance} ballet", "{perform} a ballet dance", "{dance} gracefully",
          "{do} a modern dance", "{do} ballet moves", "{perform} on stage as a dancer", "{practise} ballet",
          "{dance} expressively", "{move} like a ballet dancer", "{perform} an elegant dance",
          "{dance} with flowing arms"]
PIROUETTES = BALLET + ["{dance} and {spin}", "{do} a pirouette", "{twirl} in a dance",
                       "{turn} on one leg in ballet"]
JETES = BALLET + ["{leap} in a ballet dance", "{do} a ballet jump", "{dance} with a turning leap",
                  "{do} a grand jete"]
ARABESQUES = BALLET + ["{dance} with one leg raised", "{hold} an arabesque",
                       "{lift} a leg behind while dancing"]
HELD = BALLET + ["{dance} with @ arms held high", "{pose} like a dancer", "{stretch} gracefully",
                 "{hold} a dance pose"]
BENDS = BALLET + ["{lean} and {curl} in a dance", "{bend} gracefully while dancing", "{bow} like a ballerina"]
SWORDS = ["{fight} with a sword", "{swing} a sword", "{practise} swordplay", "{fence}", "{duel} with a sword",
          "{wave} a sword around", "{thrust} and {swing} a blade", "{play} swordsman",
          "{attack} and {parry} with a sword"]
DRIBBLES = ["{dribble} a basketball", "{play} basketball", "{bounce} a ball", "{dribble} a ball",
            "{move} around dribbling", "{bounce} a basketball with one hand", "{handle} a basketball"]
DRIBBLES_FORWARD = DRIBBLES + ["{dribble} a basketball forward", "{walk} forward while dribbling a ball",
                               "{move} ahead bouncing a ball", "{advance} with the basketball"]
KARATE = ["{practise} karate", "{do} karate", "{perform} martial arts", "{train} kung fu moves",
          "{do} a karate form", "{perform} a kata", "{move} in a fighting stance",
          "{practise} martial arts techniques", "{do} karate moves"]
KARATE_KICKS = KARATE + ["{kick}", "{practise} karate kicks", "{do} martial arts kicks",
    "{kick} like a karate fighter"]
KARATE_HANDS = KARATE + ["{punch} and {step} in karate", "{practise} karate strikes",
    "{step} forward and {block}"]
DRINKS = ["{drink}", "{drink} soda", "{drink} from a bottle", "{take} a drink", "{drink} something",
          "{have} a drink", "{hold} a bottle and {drink}", "{handle} a bottle of soda"]
WINDOWS = ["{wash} windows", "{clean} a window", "{wipe} a window", "{wipe} the glass with a cloth",
           "{clean} a large pane", "{polish} a mirror", "{scrub} a wall",
           "{do} the cleaning, wiping a window"]
MOPS = ["{mop} the floor", "{clean} the floor with a mop", "{sweep} the floor", "{push} a mop back and forth",
        "{do} the cleaning with a mop", "{scrub} the floor", "{wipe} the floor"]
LAUGHS = ["{laugh}", "{laugh} out loud", "{crack} up laughing", "{shake} with laughter",
          "{laugh} hard at a joke", "{chuckle} and {bend} over laughing", "{find} something hilarious",
          "{giggle}"]
STEPS = ["{climb} three steps", "{climb} stairs", "{walk} up some steps", "{go} up the stairs",
         "{step} up and down a few stairs", "{climb} a short staircase", "{ascend} a few steps"]
LADDERS = ["{climb} a ladder", "{climb} up a ladder", "{go} up a ladder", "{step} onto a ladder",
           "{ascend} a ladder", "{use} a ladder", "{climb} rung by rung"]
TRAFFIC = ["{direct} traffic", "{wave} and {point}", "{control} traffic like a policeman",
           "{give} hand signals to cars", "{gesture} with both arms to direct traffic",
           "{point} and {wave} cars through", "{regulate} traffic"]
SITS = ["{sit} down and {stand} up", "{sit} on a stool and {get} up", "{sit} on a stool", "{use} a stool",
        "{take} a seat", "{sit} down", "{sit} and {rise} again"]
SITS_LOW = SITS + ["{sit} on a low stool", "{sit} on a stepstool"]
SIGNALS = ["{give} basketball signals", "{signal} like a referee", "{make} referee signs",
           "{gesture} like a basketball referee", "{show} the hand signals of a referee", "{signal} a foul"]
TEAPOTS = ["{do} the little teapot dance", "{act} out a nursery rhyme", "{play} i'm a little teapot",
           "{pretend} to be a teapot", "{perform} a nursery rhyme with gestures", "{pose} like a teapot"]
ALASKA = ["{tell} a story with gestures", "{act} out a vacation", "{pantomime} a trip", "{mime} a story",
          "{gesture} while telling about a vacation", "{act} out scenes with @ hands",
          "{gesture} with both arms"]
DUCKS = ["{run} and {duck} under something", "{run} and {crouch} to get under a bar",
         "{duck} underneath an obstacle while running", "{run} forward and {dive} under a beam",
         "{stoop} under something on the run", "{run}, {duck} and {run} on"]
HURDLES = ["{run} and {jump} over something", "{run} and {leap} over an obstacle",
           "{jump} over a hurdle while running", "{take} a running jump over an obstacle", "{hurdle}",
           "{run} up and {jump} over a barrier"]
OVERS = ["{run} and {step} over something", "{run} over an obstacle",
         "{run} up to an obstacle and {get} over it", "{cross} an obstacle while running",
         "{run} and {climb} over a low object"]
ROLLS = ["{run}, {dive} and {roll}", "{run} and {do} a roll", "{dive} over something and {roll} forward",
         "{do} a dive roll", "{somersault} while running", "{run} and {do} a forward roll",
         "{tumble} forward and {run} on"]
STOPS = ["{run} and {stop}", "{run} and suddenly {stop}", "{jog} forward and {come} to a stop",
         "{run}, then {halt}", "{stop} abruptly after running", "{run} ahead and {freeze}",
         "{slow} down from a run to a stop"]
STOP_RUNS = ["{run}, {stop} and {run} again", "{run}, {pause} and {continue} running",
             "{stop} in the middle of a run and {go} on", "{run} with a quick stop on the way",
             "{interrupt} a run with a stop"]
RANGE = ["{stretch} and {move} all joints", "{stretch}", "{do} a range of motion test",
         "{rotate} @ arms and legs", "{warm} up @ joints", "{swing} @ limbs around"]
CARTWHEELS = ["{do} a cartwheel", "{turn} a cartwheel", "{cartwheel}", "{do} gymnastics, a cartwheel",
              "{perform} a cartwheel", "{flip} sideways over @ hands",
              "{wheel} sideways with hands on the floor"]
BALANCES = ["{balance} on one leg", "{stand} on one leg with @ arms outstretched",
            "{balance} with @ arms out to the sides", "{hold} @ balance on one foot", "{stand} on one foot",
            "{lift} a leg and {balance}"]
HOPS = ["{jump} up and down", "{hop} on one foot", "{hop}", "{jump} again and again", "{bounce} up and down",
        "{jump} on the spot", "{hop} in place"]
VEERS_LEFT = ["{walk} forward, veering to the left", "{walk} in a gentle curve to the left",
              "{veer} left while walking", "{walk} ahead and slightly to the left",
              "{curve} to the left while walking", "{walk} and {bear} left", "{drift} left on a walk"]
RUNS_VEERING_LEFT = ["{run} in a curve to the left", "{run} forward, veering to the left",
                     "{jog} and {bear} left", "{veer} left while running",
                     "{run} ahead and slightly to the left", "{curve} to the left at a run"]
RUNS_TURNING_LEFT = ["{run} and {turn} left", "{run} forward and {make} a left turn",
                     "{jog} ahead, then {turn} to the left", "{run} around a corner to the left",
                     "{turn} left while running", "{make} a 90 degree left turn at a run",
                     "{run} and {change} direction to the left"]
RUNS_SIDESTEPPING_LEFT = ["{run} and {sidestep} to the left", "{run} forward with a side step to the left",
                          "{dodge} to the left while running", "{step} left in the middle of a run",
                          "{jog} ahead, then {step} aside to the left"]
TURNS_LEFT_DRIBBLING = DRIBBLES + ["{dribble} a basketball and {turn} left",
    "{walk} with a basketball and {make} left turns"]

SALSA = ["{dance} salsa", "{dance}", "{step} and {turn} in a salsa", "{dance} a latin dance",
         "{do} salsa steps", "{move} @ hips and feet to salsa music", "{dance} with a partner"]
INDIAN_DANCE = ["{dance} an indian dance", "{dance}", "{perform} a classical indian dance",
                "{dance} with expressive hands", "{dance} in bollywood style", "{do} an indian temple dance"]
POP_STAR = ["{dance} like michael jackson", "{move} like a pop star on stage", "{strike} poses like michael jackson",
            "{show} off dance moves"]
BALL_KICKS = ["{kick} a ball with @ right foot", "{kick} a soccer ball", "{shoot} a football",
              "{take} a run-up and {kick} a ball", "{play} soccer", "{take} a penalty kick"]
PICKS_UP = ["{walk} up to something, {pick} it up and {put} it down",
            "{bend} down, {pick} something up and {set} it down", "{pick} up an object and {move} it",
            "{fetch} something from the floor and {put} it elsewhere"]
WALKS_AND_TURNS = ["{walk}", "{walk} around", "{walk}, {turn} and {walk} on", "{walk} and {turn} again and again",
                   "{walk} to and fro"]
TURNS_IN_PLACE_LEFT = ["{turn} in place to the left", "{turn} around on the spot to the left",
                       "{turn} counterclockwise in place", "{rotate} on the spot to the left",
                       "{stand} and {turn} all the way around to the left"]
BACKWARDS = ["{walk} backwards", "{walk} backward", "{step} backwards again and again", "{back} up on foot",
             "{go} backwards step by step"]
BACKWARDS_TURNING_LEFT = ["{walk} backwards and {turn} left", "{walk} backward, then {turn} to the left",
                          "{walk} backwards, turning to the left"]
SIDESTEPS_LEFT = ["{walk} sideways to the left", "{sidestep} to the left", "{step} to the left again and again",
                  "{take} side steps to the left", "{move} sideways to the left", "{shuffle} to the left"]
SIDESTEPS_TURNING_LEFT = ["{walk} sideways to the left and {turn} left", "{sidestep} to the left, then {turn} left",
                          "{walk} to the left with side steps while turning left"]
SIDESTEPS_TURNING_RIGHT = ["{walk} sideways to the left and {turn} right", "{sidestep} to the left, then {turn} right",
                           "{walk} to the left with side steps while turning right"]


def animal(name: str) -> list[str]:
    """Phrases of a person who plays an animal."""
    a = ("an " if name[0] in "aeiou" else "a ") + name
    return [f"{{pretend}} to be {a}", f"{{act}} like {a}", f"{{imitate}} {a}", f"{{move}} like {a}",
            f"{{mimic}} {a}",
            f"{{play}} {a}", f"{{behave}} like {a}"]


PHRASES = {   # description -> label, phrases
    "walk": ("walk", WALKS + BRISK_WALKS),
    "slow walk": ("walk", ["{walk} slowly", "{walk} slowly forward", "{stroll} at a slow pace",
        "{take} slow steps forward", "{walk} at a leisurely pace", "{amble} slowly ahead",
        "{walk} ahead without hurry"]),
    "brisk walk": ("walk", ["{walk} briskly", "{walk} fast", "{walk} quickly forward",
        "{stride} ahead at a quick pace", "{hurry} along at a walk", "{walk} with quick steps"]),
    "walk/stride": ("walk", ["{stride} forward", "{walk} with long steps", "{take} big strides ahead",
        "{walk} forward"]),
    "slow walk/stride": ("walk", ["{stride} slowly", "{walk} slowly with long steps",
        "{take} long slow steps forward"]),
    "walk, exaggerated stride": ("walk", ["{walk} with exaggerated strides", "{take} huge steps forward",
        "{walk} with very long steps", "{stride} out in an exaggerated way"]),
    "slow walk, stop": ("walk", ["{walk} slowly and {stop}", "{take} slow steps and {come} to a stop",
        "{stop} after a slow walk", "{walk} a few slow steps, then {stand} still", "{walk} and {halt}"]),
    "walk on uneven terrain": ("walk-uneven", ["{walk} on uneven terrain", "{walk} over rough ground",
        "{walk} over rocks", "{step} carefully over bumpy ground", "{hike} over uneven ground",
        "{walk} and {step} up and down on uneven terrain"]),
    "walk stealthily": ("sneak", ["{sneak} forward", "{walk} stealthily", "{creep} ahead",
        "{tiptoe} forward quietly", "{prowl} ahead like a thief", "{sneak} around",
        "{walk} without making a sound"]),
    "walk, veer left": ("walk-veer-left", VEERS_LEFT),
    "walk, 90-degree left turn": ("walk-turn-left", TURNS_LEFT),
    "run": ("run", RUNS + FAST_RUNS),
    "run/jog": ("run", RUNS),
    "run/jog, sudden stop": ("run-stop", STOPS),
    "run, veer left": ("run-turn-left", RUNS_VEERING_LEFT),
    "run/jog, veer left": ("run-turn-left", RUNS_VEERING_LEFT),
    "run, 90-degree left turn": ("run-turn-left", RUNS_TURNING_LEFT),
    "run/jog, 90-degree left turn": ("run-turn-left", RUNS_TURNING_LEFT),
    "run left": ("run-turn-left", RUNS_VEERING_LEFT),
    "run turn left": ("run-turn-left", RUNS_TURNING_LEFT),
    "run side step left": ("run-sidestep-left", RUNS_SIDESTEPPING_LEFT),
    "walk to run": ("run", ["{walk} and then {run}", "{start} to walk and {break} into a run",
        "{speed} up from a walk to a run", "{go} from walking to running", "{begin} walking, then {run}"]),
    "run to quick stop": ("run-stop", STOPS),
    "run stop run": ("run-stop", STOP_RUNS),
    "run quick stop run": ("run-stop", STOP_RUNS),
    "run jump stop run": ("run-stop", ["{run}, {jump}, {stop} and {run} on",
        "{jump} and {stop} in the middle of a run", "{run} and {jump} to a halt, then {run} again"]),
    "run dive over roll run": ("roll", ROLLS),
    "run jump over": ("run-jump", HURDLES),
    "run duck underneath": ("run-duck", DUCKS),
    "run over": ("run-jump", OVERS),
    "run, leap": ("run-jump", ["{run} and {leap}", "{run} and {jump} into the air", "{take} a running leap",
        "{run} up and {jump} far", "{leap} through the air after a run", "{do} a running jump"]),
    "navigate - walk forward, backward, sideways": ("walk-around", ["{walk} around in different directions",
        "{walk} to and fro", "{walk} about, changing direction", "{move} around on foot",
        "{walk} here and there"]),
    "jump": ("jump", JUMPS),
    "high jump": ("jump", HIGH_JUMPS),
    "forward jump": ("jump-forward", FORWARD_JUMPS),
    "jump, balance": ("jump", ["{jump} and {balance}", "{jump} and {keep} @ balance",
        "{hop} and {stand} on one leg"]),
    "jump up and down, hop on one foot": ("jump", HOPS),
    "jump up to grab, reach for, tiptoe": ("reach", REACHES),
    "punch/strike": ("punch", PUNCHES),
    "boxing": ("punch", PUNCHES + ["{spar} with footwork and punches", "{box} with an imaginary opponent"]),
    "jumps kicks and punches": ("fight", ["{jump}, {kick} and {punch}", "{fight}", "{do} fighting moves",
        "{practise} fighting", "{do} martial arts and jumps", "{move} around and {fight} an opponent"]),
    "bend over, scoop up, rise, lift arm": ("pick-up", ["{bend} over and {pick} something up",
        "{scoop} something up and {lift} it", "{pick} up something from the floor",
        "{bend} down, {rise} and {lift} an arm", "{lift} something from the ground",
        "{bend} down and {stand} up again"]),
    "swordplay": ("sword", SWORDS),
    "wash self": ("wash", ["{wash}", "{take} a shower", "{wash} @ body", "{scrub} @ arms and legs",
        "{rub} @ body with soap", "{wash} under a shower"]),
    "basketball - forward dribble": ("basketball", DRIBBLES_FORWARD),
    "basketball - backward dribble": ("basketball", DRIBBLES + ["{dribble} a basketball backwards",
        "{walk} backwards and {dribble}", "{back} up while bouncing a ball"]),
    "basketball - sideways dribble": ("basketball", DRIBBLES + ["{dribble} a basketball sideways",
        "{sidestep} while dribbling a ball", "{shuffle} sideways with a basketball"]),
    "basketball - forward dribble, 90-degree left turns": ("basketball", TURNS_LEFT_DRIBBLING),
    "basketball - forward dribble, 90-degree right turns, crossover dribble": ("basketball", DRIBBLES),
    "basketball - low, fast free style dribble, dribble through legs": ("basketball",
        DRIBBLES + ["{dribble} a basketball low and fast", "{show} off basketball tricks"]),
    "basketball - crossover dribble, shoot": ("basketball", DRIBBLES + ["{dribble} and {shoot} a basketball",
        "{shoot} a hoop"]),
    "basketball - dribble, shoot": ("basketball", DRIBBLES + ["{dribble} a basketball and {shoot}",
        "{throw} a ball at the basket"]),
    "basketball signals": ("signal", SIGNALS),
    "drink soda, screw on bottlecap": ("drink", DRINKS),
    "unscrew bottlecap, drink soda": ("drink", DRINKS),
    "drink soda": ("drink", DRINKS),
    "wash windows": ("wash-window", WINDOWS),
    "mop floor": ("mop", MOPS),
    "laugh": ("laugh", LAUGHS),
    "climb 3 steps": ("climb-steps", STEPS),
    "climb ladder": ("climb-ladder", LADDERS),
    "direct traffic, wave, point": ("direct-traffic", TRAFFIC),
    "jumping jacks, jog, squats, side twists, stretches": ("exercise", JACKS),
    "jumping jacks, side twists, reach up, bend over": ("exercise", JACKS),
    "sit on high stool, stand up": ("sit", SITS + ["{sit} on a high stool", "{sit} down on a bar stool"]),
    "sit on stepstool, stand up, swing legs": ("sit", SITS_LOW),
    "sit on stepstool, ankle on other knee, hand on chin": ("sit", SITS_LOW),
    "sit on stepstool, stand up": ("sit", SITS_LOW),
    "walking, sitting, looking, stand up": ("sit", ["{walk} around and {sit} down", "{move} around a room",
        "{look} around", "{spend} time in a room, walking and sitting"]),
    'nursery rhyme - "i\'m a little teapot..."': ("pantomime", TEAPOTS),
    "alaskan vacation": ("pantomime", ALASKA),
    "cartwheel": ("cartwheel", CARTWHEELS),
    "cartwheels": ("cartwheel", CARTWHEELS + ["{do} several cartwheels"]),
    "static dance pose - folded in, head lowered, leg bent": ("dance", ["{hold} a folded dance pose",
        "{stand} still in a dance pose", "{pose} with @ head lowered and a leg bent"]),
    "balance on one leg, outstretched arms": ("balance", BALANCES),
    "acrobatics - spin/twirl, hang on ropes": ("acrobatics", ["{do} acrobatics", "{spin} and {hang} on ropes",
        "{twirl} on a rope", "{perform} acrobatics on ropes", "{swing} from a rope"]),
    "motorcycle": ("motorcycle", ["{ride} a motorcycle", "{hold} on to the handlebars of a motorcycle",
        "{pose} as on a motorbike", "{pretend} to drive a motorcycle",
        "{hold} both hands in front like on handlebars"]),
    "range of motion": ("exercise", RANGE),
    "empi": ("martial-arts", KARATE),
    "heiansyodan": ("martial-arts", KARATE),
    "front kick": ("martial-arts", KARATE_KICKS + ["{do} front kicks"]),
    "mawashigeri": ("martial-arts", KARATE_KICKS + ["{do} roundhouse kicks"]),
    "yokogeri": ("martial-arts", KARATE_KICKS + ["{kick} to the side", "{do} side kicks"]),
    "gedanbarai": ("martial-arts", KARATE_HANDS + ["{block} low in karate"]),
    "oiduki": ("martial-arts", KARATE_HANDS + ["{lunge} forward and {punch}"]),
    "syutouuke": ("martial-arts", KARATE_HANDS + ["{block} with a knife hand"]),
    # cmu_extra: subjects 10, 11, 13, 60, 61, 69, 94 and 131
    "soccer - kick ball": ("kick-ball", BALL_KICKS),
    "start walk stop": ("dance", POP_STAR),
    "start hop stop": ("dance", POP_STAR),
    "unscrew bottlecap, drink soda, screw on bottlecap": ("drink", DRINKS),
    "direct traffic, wave": ("direct-traffic", TRAFFIC),
    "jumping jacks, side twists, squats, jog": ("exercise", JACKS),
    "jumping jacks, side twists, bend over, jog": ("exercise", JACKS),
    "salsa dance": ("salsa", SALSA),
    "indian dance": ("indian-dance", INDIAN_DANCE),
    "walk forward": ("walk", WALKS),
    "walk and turn (repeated)": ("walk-around", WALKS_AND_TURNS),
    "walk and turn both directions (repeated)": ("walk-around", WALKS_AND_TURNS),
    "walk, turn in place (repeated)": ("walk-around", WALKS_AND_TURNS),
    "turn in place": ("turn-left", TURNS_IN_PLACE_LEFT),
    "turn in place (opposite direction)": ("turn-right", [swap_left_right(phrase) for phrase in TURNS_IN_PLACE_LEFT]),
    "walk forward 90 degree left turn": ("walk-turn-left", TURNS_LEFT),
    "walk forward 90 degree smooth left turn": ("walk-turn-left", TURNS_LEFT),
    "walk backwards and turn": ("walk-back", BACKWARDS),
    "walk backwards and turn (repeated)": ("walk-back", BACKWARDS),
    "walk backward, turn in place": ("walk-back", BACKWARDS),
    "walk sideways and turn (repeated)": ("walk-left", SIDESTEPS_LEFT),
    "walk sideways and turn (opposite direction)": ("walk-right", [swap_left_right(phrase)
                                                                   for phrase in SIDESTEPS_LEFT]),
    "walk sideways and turn": ("walk-left", SIDESTEPS_LEFT),
    "walk forward and pick up object, set down object": ("pick-up", PICKS_UP),
    "walk forward and pick up object, carry back object": ("pick-up", PICKS_UP),
    "walk up to object, pick up object, set down in another place": ("pick-up", PICKS_UP),
    "walk up to object, lean over, pick up object, set down in another place": ("pick-up", PICKS_UP),
    "walk up to object, squat, pick up object, set down in another place": ("pick-up", PICKS_UP),
}
FAMILIES = [   # what a description may hold, in this order, for those that have no row above
    (r"playground", "climb", CLIMBS),
    (r"dance.*pirouette", "dance", PIROUETTES),
    (r"dance.*(jete|leap)", "dance", JETES),
    (r"dance.*(arms held high|balance)", "dance", HELD),
    (r"dance.*(arabesque|raised leg)", "dance", ARABESQUES),
    (r"dance.*(curl|lean|bend)", "dance", BENDS),
    (r"dance", "dance", BALLET),
]
# Measured on the motion: not what the description makes one think.
TO_AND_FRO = ["{walk} to and fro", "{walk}, {turn} around and {walk} back", "{pace} back and forth",
              "{walk} forward, then {turn} around", "{pace} the floor", "{walk} there and back",
              "{walk} a few steps, {turn} around and {come} back"]
OVERRIDES = dict.fromkeys(("26_01", "27_01", "29_01"), ("walk-around", TO_AND_FRO))
# Descriptions of subject 69 do not say the side; 69_50 walks backwards only.
for names, group, phrases in ((("69_53", "69_54", "69_55"), "walk-back-turn-left", BACKWARDS_TURNING_LEFT),
                              (("69_59", "69_60", "69_61"), "walk-left-turn-left", SIDESTEPS_TURNING_LEFT),
                              (("69_65", "69_66", "69_67"), "walk-left-turn-right", SIDESTEPS_TURNING_RIGHT)):
    OVERRIDES |= dict.fromkeys(names, (group, phrases))
for names, other in ((("69_50", "69_51", "69_52"), "69_53"), (("69_56", "69_57", "69_58"), "69_59"),
                     (("69_62", "69_63", "69_64"), "69_65")):
    group, phrases = OVERRIDES[other]
    OVERRIDES |= dict.fromkeys(names, (swap_left_right(group), [swap_left_right(phrase) for phrase in phrases]))


def phrases_of(trial: str, description: str) -> tuple[str, list[str]]:
    """The label and the verb phrases of a trial; a description unknown here gives its own words."""
    text = " ".join(description.lower().split()).rstrip(".")
    if trial in OVERRIDES:
        return OVERRIDES[trial]
    if text in PHRASES:
        return PHRASES[text]
    if swap_left_right(text) in PHRASES:
        group, phrases = PHRASES[swap_left_right(text)]
        return swap_left_right(group), [swap_left_right(phrase) for phrase in phrases]
    if match := re.fullmatch(r"(\w+(?: \w+)?) \(human subject\)", text):
        return "animal", animal(match[1])
    for pattern, group, phrases in FAMILIES:
        if re.search(pattern, text):
            return group, phrases
    return re.match(r"\w*", text)[0] or "other", [f"{{do}} this: {text}"]


def captions(group: str, phrases: list[str], clip_id: str) -> list[str]:
    """About ten sentences for one clip: six from the description's phrases and four about its group."""
    return sentences(clip_id, phrases) + free_sentences(clip_id, group)


def texts_beside(sources: list[Path]) -> tuple[list[Path], list[Path]]:
    """CMU's descriptions and HumanML3D's captions that lie beside the sources under their usual names."""
    homes = sorted({source.parent for source in sources})
    return tuple([path for home in homes for path in sorted(home.glob(names))]
                 for names in ("cmu_descriptions.csv", "humanml3d_for_cmu*.json"))


def read_humanml3d(paths: list[Path]) -> list[dict]:
    """Read HumanML3D's captions of CMU trials: a list of rows in each JSON file."""
    rows = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"found no {path}, expected HumanML3D's captions as JSON; it works without "
                                    "--captions, too")
        try:
            rows += json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is no JSON ({error}): fetch it again") from None
    return rows


def read_descriptions(paths: list[Path]) -> dict[str, dict[str, str]]:
    """{trial: its row} of csv files: trial, description, subject and, for files that say it wrongly, fps."""
    found = {}
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"found no {path}, expected CMU's descriptions as a csv with the "
                                    "columns trial, description, subject: give it with --descriptions")
        with open(path, encoding="utf-8", newline="") as file:
            found |= {row["trial"]: row for row in csv.DictReader(file)}
    return found


def trials(sources: list[Path], descriptions: list[Path], described: list[dict]) -> tuple[list[Trial], list[str]]:
    """List the trials below the sources, each with its split, and what cannot be used.

    descriptions   csv files, besides the cmu_descriptions.csv that a source holds itself; see `read_descriptions`
    described      HumanML3D's captions: trial, start_frame_20fps, end_frame_20fps, split, captions, id
    A scene with a caption of HumanML3D's test split is test as a whole, then likewise val, then train.
    """
    own = [path for source in sources for path in sorted(source.rglob("cmu_descriptions.csv"))]
    rows = read_descriptions([*descriptions, *own] or [sources[0].with_name("cmu_descriptions.csv")])
    segments, told = defaultdict(list), defaultdict(set)    # trial -> its described parts, scene -> splits of those
    for row in described:
        start, end = row["start_frame_20fps"] / HUMANML3D_FPS, row["end_frame_20fps"] / HUMANML3D_FPS
        texts = tuple(" ".join(text.split()) for text in row["captions"])
        segments[row["trial"]].append(Segment(f"cmu_{row['trial']}_humanml3d_{row['id']}", start, end, texts))
        told[scene(row["trial"])].add(row["split"])
    files, skipped = {}, []
    for path in (path for source in sources for path in sorted(source.rglob("*"))):
        if path.suffix.lower() not in (".bvh", ".amc"):
            continue
        if not NAME.fullmatch(path.stem) or path.stem not in rows:
            skipped.append(f"{path.name}: found no description of {path.stem!r} in a cmu_descriptions.csv")
        elif path.stem in files:
            skipped.append(f"{path.name}: found the trial also as {files[path.stem].name}, which is used")
        else:
            files[path.stem] = path
    known = {name: phrases_of(name, _said(rows[name])) for name in files}
    strata = {scene(name): known[name][0] for name in files if scene(name) not in told}
    splits = split_by_strata(strata, val=0.06, test=0)
    for name, found in told.items():
        splits[name] = next(split for split in ("test", "val", "train") if split in found)
    return [Trial(f"cmu_{name}", path, _skeleton_map(path), splits[scene(name)], group,
                  partial(captions, group, phrases), shortest=LONGER.get(name.split("_")[0], 60),
                  segments=tuple(segments[name]), phrases=tuple(phrases), fps=float(rows[name].get("fps") or 0) or None)
            for (name, path), (group, phrases) in zip(files.items(), known.values())], skipped


def scene(trial: str) -> str:
    """What the trials of two persons who act together share: 61_03 is of 60_03's scene."""
    subject, number = trial.split("_")
    return f"{PARTNERS.get(subject, subject)}_{number}"


def _said(row: dict[str, str]) -> str:
    """A trial's description, or its subject's where it is unknown."""
    return row["subject"].strip("()") if row["description"].lower() == "unknown" else row["description"]


def _skeleton_map(path: Path) -> str:
    """Trials circulate on four skeletons: ASF/AMC, two conversions of it to BVH, and one for DAZ figures.

    Their units differ, which makes no difference: a body is scaled by the length of its legs.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(600)
    if re.search(r"ROOT\s+hip\b", head):
        return "cmu_daz"
    return "cmu_arms_down" if re.search(r"JOINT\s+LeftHip\b", head) else "cmu"
