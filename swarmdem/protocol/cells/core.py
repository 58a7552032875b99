"""One peer of a swarm in cells: a core in its cell and, while it speaks for the cell, one in the region.

    enter -> cell: rounds as in a flat swarm --root model--> region: a round --result--> next root model

The doors are those of `protocol/core.py`. What the two cores order goes out as one list; what only the other
must know stays inside: the region's core is told the cell's root model as if it had trained it, and the
leaders of the cell's root mix in what it would apply. Cells and region do not wait for each other.

A peer leaves its cell (a split by the cell's certificate, a merge by the region's) only between two rounds,
when its core would begin to train: then no digest of it is open there, and what it says of its origin
(`entries.Origin`) is true. Until its duties in the last update are done it stays, at most a patience.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b

from swarmdem.identifiers import CellId, Micros, ModelHash, PeerId
from swarmdem.protocol import events
from swarmdem.protocol.cells.charters import cell_charter, limit_of, region_charter, scopes_of
from swarmdem.protocol.cells.entering import Entering, directory
from swarmdem.protocol.cells.entries import NO_SITE, handed_down
from swarmdem.protocol.cells.fetching import Fetching
from swarmdem.protocol.cells.part import Part
from swarmdem.protocol.cells.records import REGION, Records
from swarmdem.protocol.cells.reshaping import known_cells, merges
from swarmdem.protocol.cells.rooting import Rooting, mean_alone
from swarmdem.protocol.cells.speaking import USED, Speaker
from swarmdem.protocol.cells.status import status_in_cells
from swarmdem.protocol.cells.staying import Staying
from swarmdem.protocol.events import Effect, Input, Persist, Publish, Report
from swarmdem.protocol.status import RoundRecord, Status
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import Bundle, Final, Hello, Mean


class CellCore:
    """The protocol of one peer of a swarm in cells; arguments as of `core.Core`, and `entries.site_of`."""

    def __init__(
        self,
        charter: Charter,
        sealer: Sealer,
        *,
        stored: Mapping[str, bytes] | None = None,
        capability: int = 1,
        site: bytes = NO_SITE,
    ) -> None:
        self._charter = charter
        self._sealer = sealer
        self._me = sealer.peer
        self._records = Records(stored or {})
        self._capability, self._site = capability, site
        self._region_charter = region_charter(charter)
        self._scopes = scopes_of(charter)
        self._region_scopes = scopes_of(self._region_charter)
        self._now: Micros = 0
        self._nonce = self._brokers = b""
        self._up = self._left = False
        self._offered: events.ModelOffered | None = None
        self._entering: Entering | None = None
        self._staying: Staying | None = None
        self._speaker: Speaker | None = None
        self._rooting = Rooting()
        self._fetching = Fetching()

    # The doors

    @property
    def cell(self) -> CellId | None:
        """The cell this peer is in; None while it enters."""
        return self._staying.cell if self._staying is not None else None

    @property
    def speaks(self) -> bool:
        """Whether this peer speaks for its cell in the region."""
        return self._speaker is not None

    def status(self) -> Status:
        """Return this peer's state in plain values: in its cell, with what it knows of the region."""
        region = self._speaker.region if self._speaker is not None else None
        return status_in_cells(self._me, self._staying, region, connected=self._up, left=self._left)

    def round_record(self) -> RoundRecord | None:
        """Return the evidence for the cell's certificate that this peer stands on; None before the first."""
        return self._staying.part.round_record() if self._staying is not None else None

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        """Take one input and return what must be done about it, in order."""
        self._now = now
        if self._left:
            return []
        effects = self._received(event) if isinstance(event, events.Received) else self._take(event)
        return effects if self._left else effects + self._settle()

    def next_wakeup(self) -> Micros | None:
        """Return when `Woke` is due, or None while only an input can lead on."""
        if self._left or not self._nonce:
            return None
        staying = self._staying
        if staying is not None and self._speaker is None and staying.leaves_by is None:
            return staying.part.next_wakeup()
        due = [part.next_wakeup() for part in self._parts()]
        due += [self._entering.deadline()] if self._entering is not None and self._up else []
        due += [staying.leaves_by] if staying is not None else []
        return min((at for at in due if at is not None), default=None)

    # Inputs

    def _take(self, event: Input) -> list[Effect]:
        match event:
            case events.Started(nonce, brokers):
                self._nonce, self._brokers = nonce, brokers
                return self._begin()
            case events.ModelOffered():
                self._offered = event
            case events.LinkChanged(up):
                self._up = up
            case events.Trained() | events.TrainingFailed():
                return self._trained(event)
            case events.Fetched(model) | events.FetchFailed(model, _):
                return self._fetched(event, model)
            case events.Averaged():
                return self._averaged(event)
            case events.Mixed(_, _, model, size):
                self._fetching.note(model, size)
            case events.LeaveRequested():
                self._left = True
            case events.Applied() if self._staying is not None:
                return self._feed(self._staying.part, event)
            case _:
                pass
        return self._feed_all(event)

    def _begin(self) -> list[Effect]:
        cell = self._records.get("cell")
        if len(cell) == 16:
            return self._sit(CellId(cell))
        self._entering = Entering(self._charter, self._sealer, self._nonce, self._site)
        return [events.Enter(self._charter, to_all=False)]

    def _received(self, event: events.Received) -> list[Effect]:
        frame, staying, speaker = event.frame, self._staying, self._speaker
        if staying is not None and frame.scope in staying.scopes:
            if isinstance(frame.message, Final) and handed_down(frame.message) is not None:
                return self._told(frame.sender, frame.message)
            effects = self._feed(staying.part, event)
            if isinstance(frame.message, Mean):
                self._rooting.heard(frame.message)
                effects += self._root_announced(frame.sender, frame.message)
            return effects
        if speaker is not None and frame.scope in self._region_scopes:
            return self._feed(speaker.region, event)
        if frame.scope not in self._scopes or frame.sender == self._me:
            return []
        if isinstance(frame.message, Hello) and speaker is not None:
            sealers = (self._sealer, self._sealer.under(self._region_charter))
            return directory(frame.sender, speaker.region, *sealers)
        if isinstance(frame.message, Bundle) and self._entering is not None:
            ordered = self._entering.answered(frame.message.frames, self._offered)
            return self._fetching.order("own", ordered, self._scopes[0])
        return []

    def _trained(self, event: events.Trained | events.TrainingFailed) -> list[Effect]:
        if self._entering is not None:
            self._entering.trained(event)
            return []
        if self._staying is None:
            return []
        if isinstance(event, events.Trained):
            event = replace(event, ext=self._staying.origin_ext())
        return self._feed(self._staying.part, event)

    def _fetched(self, event: events.Fetched | events.FetchFailed, model: ModelHash) -> list[Effect]:
        self._fetching.ended(model)
        effects = self._feed_all(event)
        if isinstance(event, events.Fetched):
            self._rooting.fetched(model)
            if self._entering is not None:
                effects += self._entering.fetched(model)
        return effects

    def _averaged(self, event: events.Averaged) -> list[Effect]:
        self._fetching.note(event.model, event.model_bytes)
        return self._feed_all(replace(event, ext=self._rooting.averaged(event)))

    def _told(self, sender: PeerId, final: Final) -> list[Effect]:
        """Take what the region's last round brought, from the peer that speaks for the cell."""
        staying, down = self._staying, handed_down(final)
        if staying is None or down is None or sender not in staying.speakers()[:2]:
            return []
        if down.merge:
            staying.leave(down.merge)
            return []
        told = self._rooting.told(final, sender, staying.part.base.id)
        return self._fetching.order("own", told, staying.scopes[0])

    # The two cores

    def _parts(self) -> list[Part]:
        parts = [self._staying.part] if self._staying is not None else []
        return parts + ([self._speaker.region] if self._speaker is not None else [])

    def _feed_all(self, event: Input) -> list[Effect]:
        return [effect for part in self._parts() for effect in self._feed(part, event)]

    def _feed(self, part: Part, event: Input) -> list[Effect]:
        """Let one core take an input, and do what its effects mean for the other."""
        stood_on = part.base.id
        ordered = part.handle(event, self._now)
        adopted = part.base.id != stood_on
        if not ordered and not adopted:
            return []
        in_cell = self._staying is not None and part is self._staying.part
        if adopted and in_cell and self._staying is not None:
            self._staying.divide(self._me)
        translate = self._of_cell if in_cell else self._of_region
        effects = [done for effect in ordered for done in translate(part, effect)]
        if adopted:
            effects += self._cell_adopted(part) if in_cell else self._region_adopted(part)
        return effects

    def _of_cell(self, part: Part, effect: Effect) -> list[Effect]:
        staying = self._staying
        assert staying is not None
        match effect:
            case Persist():
                return [*staying.written(self._records, effect)]
            case events.Train():
                return [] if staying.held_back(self._now, self._charter.patience_us) else [effect]
            case events.Fetch() | events.StopFetching():
                return self._fetching.order("cell", [effect], staying.scopes[0])
            case events.Keep():
                return [self._keep(effect)]
            case events.FinishMean(plan, group) if group == part.root:
                before = part.base.plan.base if part.base.plan is not None else b""
                return [replace(effect, above=self._rooting.goes_into(group, (plan, before)))]
            case Publish(frame) if isinstance(frame.message, Mean):
                return [effect, *self._root_announced(self._me, frame.message)]
            case Report(events.GroupAveraged() as made) if part.base.electorate == (self._me,):
                alone = mean_alone(made, self._fetching.size(made.model), self._rooting.ext)
                return [effect, *self._root_announced(self._me, alone)]
            case Report(events.KeyRefused()):
                self._left = True
        return [effect]

    def _of_region(self, part: Part, effect: Effect) -> list[Effect]:
        speaker = self._speaker
        assert speaker is not None
        match effect:
            case Persist(key, value):
                return [self._records.in_region(key, value)]
            case events.SaveModel(events.Slot.UPLOAD, model):
                return [events.SaveModel(events.Slot.CELL, model)]
            case events.Train():
                speaker.order = effect
                return []
            case events.Fetch() | events.StopFetching():
                return self._fetching.order(REGION, [effect], self._region_scopes[0])
            case events.Keep():
                return [self._keep(effect)]
            case events.FinishMean():
                return [replace(effect, amplified=False)]
            case events.Apply(parent=model):
                down = events.HandedDown(effect.plan, effect.round, effect.group, model, effect.upload)
                self._rooting.at_hand.add(model)
                effects = self._feed(part, events.Applied(effect.plan, model))
                if self._staying is not None:
                    speaker.finished(effect, self._fetching.size(model))
                    effects += self._tell(speaker, self._staying.part)
                return [Report(down, region=True), *effects]
            case Report(events.KeyRefused()):
                self._left = True
            case Report(event):
                return [Report(event, region=True)]
        return [effect]

    def _keep(self, kept: events.Keep) -> events.Keep:
        """Return what both cores and the way between them still need."""
        between = self._rooting.keep(self._speaker.models if self._speaker is not None else ())
        models = {*kept.models, *between}
        for part in self._parts():
            models.update(part.models)
        return events.Keep(tuple(sorted(models)))

    # Certificates

    def _cell_adopted(self, part: Part) -> list[Effect]:
        assert self._staying is not None
        self._staying.adopted(part.base.round)
        if self._speaker is None:
            return []
        self._speaker.root = None
        return self._tell(self._speaker, part)

    def _tell(self, speaker: Speaker, cell: Part) -> list[Effect]:
        """Tell the cell what came down and has not arrived yet."""
        leaders = cell.root_leaders()
        told = speaker.told()
        if told is not None and self._me in leaders:
            self._rooting.told(told, self._me, cell.base.id)
        return speaker.tell(leaders)

    def _region_adopted(self, part: Part) -> list[Effect]:
        """Merge the cell into another if the region's certificate says so."""
        speaker, staying = self._speaker, self._staying
        listed = part.listed()
        if speaker is None or staying is None or len(listed) < len(part.base.electorate) or speaker.merge:
            return []
        cells = known_cells(part.base, listed)
        into = merges(cells, limit_of(self._charter)).get(staying.cell)
        if into is None or cells[staying.cell].speaker != self._me:
            return []
        staying.leave(into)
        speaker.merge_into(into, part.base)
        return self._tell(speaker, staying.part)

    def _root_announced(self, leader: PeerId, mean: Mean) -> list[Effect]:
        staying, speaker = self._staying, self._speaker
        if staying is not None and speaker is not None and staying.part.is_root_mean(mean, leader):
            speaker.root_announced(mean, leader, staying.part)
        return []

    # What follows

    def _settle(self) -> list[Effect]:
        """Do what has become due: enter a cell, leave it, begin or end to speak for it, send its model up."""
        effects: list[Effect] = []
        if self._entering is not None and self._nonce:
            effects += self._entering.woke(self._now, up=self._up)
            if self._entering.chosen is not None:
                chosen, self._entering = self._entering.chosen, None
                effects += self._sit(chosen)
        staying = self._staying
        if staying is not None and staying.ready(self._now):
            effects += self._move(staying)
        effects += self._speak()
        return effects + self._send_up()

    def _sit(self, cell: CellId) -> list[Effect]:
        """Begin in *cell*, from what is on disk of it."""
        charter = cell_charter(self._charter, cell)
        effects: list[Effect] = [self._records.write("cell", cell), events.Enter(charter)]
        self._staying = Staying(cell, charter, self._sealer, self._records, self._capability)
        return effects + self._start(self._staying.part, charter)

    def _start(self, part: Part, charter: Charter) -> list[Effect]:
        nonce = blake2b(self._nonce + charter_hash(charter), digest_size=16, person=b"sd/nonce").digest()
        effects = self._feed(part, events.Started(nonce, self._brokers))
        if self._offered is not None:
            effects += self._feed(part, self._offered)
        return effects + (self._feed(part, events.LinkChanged(up=True)) if self._up else [])

    def _move(self, staying: Staying) -> list[Effect]:
        """Leave the cell for the next one."""
        effects = self._hush() if self._speaker is not None else []
        effects += self._feed(staying.part, events.LeaveRequested())
        effects.append(events.Leave(staying.charter))
        assert staying.target is not None
        self._rooting = Rooting()
        effects += staying.moved(self._records)
        return effects + self._sit(staying.target)

    def _speak(self) -> list[Effect]:
        staying = self._staying
        if staying is None:
            return []
        first = staying.speakers()[:1] == (self._me,)
        if first == (self._speaker is not None):
            return []
        if not first:
            return self._hush()
        effects: list[Effect] = [events.Enter(self._region_charter), events.Enter(self._charter)]
        sealer = self._sealer.under(self._region_charter)
        region = Part(self._region_charter, sealer, stored=self._records.of(f"{REGION}-"))
        in_cell = self._sealer.under(staying.charter)
        self._speaker = Speaker(staying.cell, region, in_cell, self._records.get(USED), self._site)
        return effects + self._start(region, self._region_charter)

    def _hush(self) -> list[Effect]:
        """Speak for the cell no more."""
        assert self._speaker is not None
        effects = self._feed(self._speaker.region, events.LeaveRequested())
        self._speaker = None
        return [*effects, events.Leave(self._region_charter), events.Enter(self._charter, to_all=False)]

    def _send_up(self) -> list[Effect]:
        """Answer the region's order as soon as the root model is at hand."""
        speaker, staying = self._speaker, self._staying
        need = speaker.needed() if speaker is not None else None
        if speaker is None or staying is None or need is None:
            return []
        if need.model in self._rooting.at_hand:
            effects, trained = speaker.answer()
            return effects + self._feed(speaker.region, trained)
        wanted = [] if self._fetching.awaits("own", need.model) else [self._rooting.want(need)]
        return self._fetching.order("own", wanted, staying.scopes[0])
