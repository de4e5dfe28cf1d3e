"""Sentences and words for the two tasks. Data only: `tasks` makes prompts of them.

A sentence stops before its answer. `{A}` and `{B}` are two names in either order, `{S}` the one who
acts and `{T}` the other (the answer); `{o}` a noun, `{p}` a place; `{all}` a list of nouns with "a",
`{rest}` all of it but the answer, with "the". The papers' own templates were not at hand: these are ours.
"""

# fmt: off
from __future__ import annotations

NAME_TEMPLATES = (
    "When {A} and {B} went to the {p}, {S} gave a {o} to",
    "Then {A} and {B} came to the {p}, and {S} handed a {o} to",
    "After {A} and {B} left the {p}, {S} sent a {o} to",
    "While {A} and {B} walked to the {p}, {S} showed a {o} to",
    "One day {A} and {B} met in the {p}. {S} offered a {o} to",
    "When {A} and {B} sat in the {p}, {S} told a story to",
    "As soon as {A} and {B} reached the {p}, {S} lent a {o} to",
    "Because {A} and {B} were alone in the {p}, {S} passed a {o} to",
    "Last week {A} and {B} drove to the {p}. There {S} sold a {o} to",
    "At the {p} we saw {A} and {B}, and soon {S} was throwing a {o} to",
)

LIST_TEMPLATES = (
    "I need to buy {all}. I already bought {rest}. The only thing left is the",
    "{A} had {all} on the table. {A} gave away {rest}. All that was left was the",
    "There was {all} in the bag. We took out {rest}. What remained was the",
    "{A} packed {all}. On the way {A} lost {rest}. {A} still had the",
    "On the shelf there was {all}. Somebody carried off {rest}. Now there is only the",
    "We have to clean {all}. We are done with {rest}. We still have to clean the",
    "My uncle promised me {all}. So far he has sent {rest}. I am still waiting for the",
    "They were looking for {all}. They found {rest}. They never found the",
)

NAMES = (
    "John", "Mary", "Tom", "James", "Dan", "Jane", "Peter", "Paul", "George", "Henry", "William",
    "Charles", "Robert", "David", "Jack", "Harry", "Sam", "Ben", "Joe", "Jim", "Frank", "Fred",
    "Arthur", "Edward", "Alice", "Emily", "Lucy", "Helen", "Ruth", "Martha", "Margaret",
    "Elizabeth", "Anne", "Laura", "Maria", "Philip", "Michael", "Martin", "Stephen", "Richard",
    "Thomas", "Andrew", "Albert", "Louis", "Rachel", "Diana", "Dick", "Will", "Grace", "Rose",
    "Bill", "Phil", "Jo", "Pip", "Nick", "Matthew", "Jerry", "Carol", "Bess", "Gilbert", "Roy",
    "Teddy", "Katharine", "Hans", "Francis", "Ivan", "Percy", "Susan", "Sarah", "Kate", "Bob",
    "Hugh", "Mark", "Luke", "Simon", "Adam", "Daniel", "Joseph", "Anthony", "Patrick", "Kevin",
    "Brian", "Ryan", "Jason", "Eric", "Steven", "Scott", "Justin", "Tyler", "Kyle", "Sean", "Alan",
    "Carl", "Roger", "Keith", "Gary", "Larry", "Dennis", "Bruce", "Lisa", "Karen", "Nancy", "Linda",
    "Barbara", "Sandra", "Donna", "Sharon", "Michelle", "Jessica", "Amy", "Angela", "Melissa",
    "Emma", "Anna", "Sophie", "Clara", "Molly", "Betty", "Tim", "Oliver", "Oscar", "Owen", "Victor",
    "Vincent", "Eva", "Julia", "Lily", "Marie", "Sally", "Max", "Leo", "Karl", "Felix", "Harold",
    "Jacob", "Jonathan", "Joshua", "Julian", "Lawrence", "Nathan", "Nicholas", "Samuel", "Timothy",
)

NOUNS = (
    # Things one can count, carry or own, that begin with a consonant, so that "a" fits them all.
    "pencil", "book", "cup", "ball", "box", "bag", "hat", "coat", "key", "knife", "lamp", "candle",
    "chair", "letter", "ring", "watch", "rope", "basket", "bottle", "plate", "pen", "map", "sword",
    "gun", "bell", "clock", "flag", "horse", "dog", "cat", "bird", "cow", "sheep", "fish", "cake",
    "flower", "stone", "shell", "purse", "boot", "ribbon", "dress", "shirt", "pillow", "bed",
    "stove", "pot", "pan", "saw", "ladder", "wheel", "cart", "boat", "sail", "mirror", "brush",
    "comb", "button", "pipe", "stick", "whip", "saddle", "chain", "lock", "wagon", "carpet",
    "curtain", "lantern", "pistol", "rifle", "crown", "jewel", "diamond", "stocking", "cloak",
    "jacket", "cap", "veil", "handkerchief", "sofa", "desk", "bench", "trunk", "chest", "dish",
    "glass", "feather", "leaf", "branch", "log", "tent", "canoe", "sheet", "collar", "belt", "sack",
    "bundle", "stamp", "card", "picture", "portrait", "piano", "whistle", "pig", "hen", "duck",
    "goose", "mouse", "snake", "lion", "bear", "wolf", "fox", "pear", "pie", "toy", "doll",
    "marble", "nest", "fence", "gate", "door", "brick", "board", "wire", "cord", "string", "car",
    "skirt", "gown", "novel", "newspaper", "pill", "pin", "bow", "club", "wand", "mat", "couch",
    "drawer", "fan", "bucket", "kettle", "spoon", "fork", "blanket", "drum", "spear", "shield",
    "pearl", "necklace", "glove", "shoe", "jug", "bowl", "hammer", "nail", "needle", "pole", "net",
    "hook", "tray", "towel", "quilt", "helmet", "package", "coin", "ticket", "statue", "violin",
    "trumpet", "banner", "pony", "goat", "chicken", "rabbit", "frog", "spider", "turtle", "tiger",
    "deer", "monkey", "lemon", "peach", "potato", "carrot", "cookie", "sandwich", "kite", "balloon",
    "robot", "tool", "drill", "shovel", "cage", "tank", "truck", "van", "bike", "bicycle", "rocket",
    "radio", "phone", "camera", "computer", "laptop", "printer", "telescope", "magnet", "battery",
    "torch", "banana", "tomato", "scarf", "sweater", "notebook", "diary", "magazine", "poster",
    "wallet", "suitcase", "backpack", "razor", "bandage", "jar", "vase", "clip", "cannon", "trophy",
    "medal", "flute", "guitar", "banjo", "puzzle", "rug", "cabinet",
)

PLACES = (
    "garden", "market", "church", "school", "house", "farm", "village", "town", "forest", "river",
    "shop", "library", "kitchen", "park", "station", "castle", "hotel", "bridge", "hospital",
    "palace", "temple", "college", "cottage", "cabin", "theatre", "valley", "mountain", "desert",
    "cave", "camp", "tower", "prison", "bank", "lake", "museum", "restaurant", "airport",
)
