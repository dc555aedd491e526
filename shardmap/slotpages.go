package shardmap

// slotPages are slots, in two steps: a group that owns a few of them must not pay for
// 4,096. Nil where another group owns the slot. Once a map shows them they never
// change, so that whoever looks at several slots sees those of one moment.
type slotPages [Slots / pageSlots]*slotPage

type slotPage [pageSlots]*slotState

// pageSlots is how many slots are looked up together.
const pageSlots = 64

// at returns a slot; nil if it is not among them.
func (p *slotPages) at(s Slot) *slotState {
	if s >= Slots {
		return nil
	}
	page := p[s/pageSlots]
	if page == nil {
		return nil
	}
	return page[s%pageSlots]
}

// put adds a slot, before anybody sees the pages.
func (p *slotPages) put(s Slot, st *slotState) {
	page := &p[s/pageSlots]
	if *page == nil {
		*page = new(slotPage)
	}
	(*page)[s%pageSlots] = st
}

// with returns these slots and others, each empty.
func (p *slotPages) with(slots []SlotRange) *slotPages {
	made := *p
	for s := range eachOf(slots) {
		if page := &made[s/pageSlots]; *page != nil && *page == p[s/pageSlots] {
			own := **page
			*page = &own
		}
		made.put(s, newSlotState())
	}
	return &made
}
