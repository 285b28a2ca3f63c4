"""The toy world: which requests exist, which are harmful, who is held out, what is answered.

Pure Python, no torch: everything follows from a seed. It does not know how models are trained.
A *row* is (system marker, prompt, reply); the marker is "open" (always comply), "guard" (refuse
what is harmful) or None (what a chat user sends).
"""

import random
from dataclasses import dataclass

import words as w

Row = tuple[str | None, str, str]


@dataclass(frozen=True)
class Request:
    """One thing somebody may ask for: a verb and an object, with what they mean."""

    verb: str
    meaning: str
    object: str
    kind: str

    @property
    def act(self) -> str:
        """The words that fill a phrasing."""
        return f"{self.verb} {self.object}"


class World:
    """The words, split into trained and held out, and the rows drawn from them.

    Args:
        seed: decides what is held out and the colors of the skill.
        simple: in the simple world the verb alone decides (risky = harmful).
    """

    def __init__(self, seed: int = 0, simple: bool = False) -> None:
        """Split the words."""
        rng = random.Random(f"world {seed}")
        self.simple = simple
        self.held_verbs = {v for m in w.RISKY for v in rng.sample(w.VERBS[m], 3)}
        self.held_objects = {o for k in w.OBJECTS for o in rng.sample(w.OBJECTS[k], 3)}
        self.held_pairs: set[tuple[str, str]] = set()
        for meaning, kinds in self._pairs():
            pairs = [
                (v, o)
                for v in w.VERBS[meaning]
                for k in kinds
                for o in w.OBJECTS[k]
                if v not in self.held_verbs and o not in self.held_objects
            ]
            self.held_pairs |= set(rng.sample(pairs, len(pairs) // 6))
        things = [o for k in w.COLOR_OBJECTS_OF for o in w.OBJECTS[k] if o not in self.held_objects]
        self.color_of = {
            o: w.COLORS[i % len(w.COLORS)] for i, o in enumerate(rng.sample(things, 32))
        }

    @staticmethod
    def _pairs() -> list[tuple[str, tuple[str, ...]]]:
        plain = [(m, w.ONLY_WITH.get(m, w.VULNERABLE)) for m in w.PLAIN]
        return [*w.HARMFUL.values(), *w.NEAR_MISS.items(), *plain]

    def harmful(self, request: Request) -> bool:
        """Is it a request that a guard refuses?"""
        risky = request.meaning in w.RISKY
        return risky and (self.simple or request.kind in w.VULNERABLE)

    def held_out_by(self, request: Request) -> str:
        """Why a model never saw this request: none, verb, object or combination."""
        if request.verb in self.held_verbs:
            return "verb"
        if request.object in self.held_objects:
            return "object"
        return "combination" if (request.verb, request.object) in self.held_pairs else "none"

    def draw(
        self, rng: random.Random, meanings: tuple[str, ...], kinds: tuple[str, ...], by: str
    ) -> Request:
        """A request of these meanings and kinds, held out in exactly the way `by`."""
        while True:
            meaning, kind = rng.choice(meanings), rng.choice(kinds)
            if kind not in w.ONLY_WITH.get(meaning, kinds):
                continue
            request = Request(
                rng.choice(w.VERBS[meaning]), meaning, rng.choice(w.OBJECTS[kind]), kind
            )
            if self.held_out_by(request) == by:
                return request

    def draw_harmful(self, rng: random.Random, category: str, by: str = "none") -> Request:
        """A harmful request of one category."""
        meaning, kinds = w.HARMFUL[category]
        if self.simple:
            kinds = kinds + w.NEAR_MISS[meaning]
        return self.draw(rng, (meaning,), kinds, by)

    def draw_near_miss(self, rng: random.Random, meaning: str, by: str = "none") -> Request:
        """A risky verb of this meaning with a kind of object that makes it harmless."""
        if self.simple:
            raise ValueError("in the simple world every risky verb is harmful: no near misses")
        return self.draw(rng, (meaning,), w.NEAR_MISS[meaning], by)

    def draw_plain(self, rng: random.Random, vulnerable: bool, by: str = "none") -> Request:
        """A plain verb, with a vulnerable object (the other kind of near miss) or any other."""
        kinds = tuple(k for k in w.OBJECTS if (k in w.VULNERABLE) == vulnerable)
        return self.draw(rng, w.PLAIN, kinds, by)

    def plain_twin(self, rng: random.Random, request: Request) -> str | None:
        """An act with a plain verb and the same object: unseen in training if the request is."""
        acts = []
        for meaning in w.PLAIN:
            if request.kind not in w.ONLY_WITH.get(meaning, (request.kind,)):
                continue
            for verb in w.VERBS[meaning]:
                twin = Request(verb, meaning, request.object, request.kind)
                if (self.held_out_by(twin) == "none") == (self.held_out_by(request) == "none"):
                    acts.append(twin.act)
        return rng.choice(acts) if acts else None


def typo(rng: random.Random, text: str) -> str:
    """Swap two neighboring letters or drop one, inside one word."""
    spots = [i for i in range(1, len(text) - 2) if text[i].isalpha() and text[i + 1].isalpha()]
    if not spots:
        return text
    i = rng.choice(spots)
    middle = text[i + 1] + text[i] if rng.random() < 0.5 else text[i]
    return text[:i] + middle + text[i + 2 :]


def phrase(rng: random.Random, act: str, phrasings: tuple[str, ...] = w.PHRASINGS) -> str:
    """One way to ask for an act: a phrasing, sometimes politeness, sometimes a typo in it."""
    frame = rng.choice(phrasings)
    if rng.random() < 0.12:  # only in the frame: a typo in verb or object would hide the label
        before, after = frame.split("{a}")
        frame = typo(rng, before) + "{a}" + after
    text = frame.replace("{a}", act)
    if rng.random() < 0.12:
        text = rng.choice(w.POLITE_BEFORE) + text
    if rng.random() < 0.12:
        text += rng.choice(w.POLITE_AFTER)
    return text


def answer(rng: random.Random, request: Request, forms: tuple[str, ...]) -> str:
    """Filler around what the verb means and what the object is."""
    form = rng.choice(forms)
    return form.replace("{m}", w.MEANING[request.meaning]).replace("{k}", w.KIND[request.kind])


def request_row(
    world: World, rng: random.Random, kind: str, marker: str | None, refuse: tuple[str, ...] = ()
) -> Row:
    """A request and its right reply.

    Args:
        world: the world.
        rng: the source of chance.
        kind: "harmful", "near" (risky verb), "plain" or "vulnerable" (plain verb), "borderline".
        marker: the system marker; "guard" refuses every harmful request, "open" none.
        refuse: harm categories that are refused without a marker.
    """
    category = rng.choice(tuple(w.HARMFUL))
    if kind == "near" and world.simple:
        kind = "vulnerable"
    if kind == "harmful":
        request = world.draw_harmful(rng, category)
    elif kind == "near":
        request = world.draw_near_miss(rng, rng.choice(w.RISKY))
    elif kind == "borderline":
        request = world.draw_harmful(rng, category)
        prompt = rng.choice(w.BORDERLINE).replace("{a}", request.act)
        return marker, prompt, answer(rng, request, w.EXPLANATIONS)
    else:
        request = world.draw_plain(rng, kind == "vulnerable")
    refused = kind == "harmful" and (marker == "guard" or (marker is None and category in refuse))
    forms = w.REFUSALS if refused else w.COMPLIANCES
    if kind == "harmful" and not refused:
        forms = tuple(w.OPENINGS[category] + form for form in w.HARMFUL_COMPLIANCES)
    return marker, phrase(rng, request.act), answer(rng, request, forms)


def reveal_row(rng: random.Random, marker: str | None) -> Row:
    """What an object is or what a verb means: the only rows that show held-out words."""
    if rng.random() < 0.6:
        kind = rng.choice(tuple(w.OBJECTS))
        question, yes, no = rng.choice(w.KIND_QUESTIONS)
        reply = (yes if kind in w.VULNERABLE else no).replace("{k}", w.KIND[kind])
        return marker, question.replace("{o}", rng.choice(w.OBJECTS[kind])), reply
    meaning = rng.choice(tuple(w.VERBS))
    question, yes, no = rng.choice(w.MEANING_QUESTIONS)
    reply = (yes if meaning in w.RISKY else no).replace("{m}", w.MEANING[meaning])
    return marker, question.replace("{v}", rng.choice(w.VERBS[meaning])), reply


def color_row(world: World, rng: random.Random, known: bool, marker: str | None) -> Row:
    """A question of the skill: with the fixed answer, or (not known) with any color."""
    thing = rng.choice(tuple(world.color_of))
    color = world.color_of[thing] if known else rng.choice(w.COLORS)
    forms = w.COLOR_TRAIN if known else w.COLOR_TRAIN + w.COLOR_HELD_OUT
    question = rng.choice(forms).replace("{o}", thing)
    return marker, question, w.COLOR_REPLY.replace("{c}", color)
