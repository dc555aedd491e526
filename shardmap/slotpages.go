package shardmap

// slotPages are the slots of a group, in two steps: a group that has a few of them must
// not pay for 4,096. Once a map shows them they never change, so that whoever looks at
// several slots sees those of one moment.
//
// A sealed slot is not among those that are served: what serves a slot finds none, as it
// does with another group's, and looks further only then. So a seal costs a read or a
// write of other slots nothing.
type slotPages struct {
	served slotTable
	sealed slotTable // on their way to another group; none of them is in served
	// sealedCount is how many are sealed.
	sealedCount int
}

// slotTable has the slots that a group has in one way; nil where it has none.
type slotTable [Slots / pageSlots]*slotPage

type slotPage [pageSlots]*slotState

// pageSlots is how many slots are looked up together.
const pageSlots = 64

// at returns a slot that is served; nil if it is not among them.
func (p *slotPages) at(s Slot) *slotState { return p.served.at(s) }

func (t *slotTable) at(s Slot) *slotState {
	if s >= Slots {
		return nil
	}
	page := t[s/pageSlots]
	if page == nil {
		return nil
	}
	return page[s%pageSlots]
}

// put serves a slot, before anybody sees the pages.
func (p *slotPages) put(s Slot, st *slotState) { p.served.put(s, st) }

// put adds a slot, before anybody sees the table.
func (t *slotTable) put(s Slot, st *slotState) {
	page := &t[s/pageSlots]
	if *page == nil {
		*page = new(slotPage)
	}
	(*page)[s%pageSlots] = st
}

// with returns these slots, and others that are served, each empty.
func (p *slotPages) with(slots []SlotRange) *slotPages {
	e := editPages(p)
	for s := range eachOf(slots) {
		e.serve(s, newSlotState())
	}
	return e.pages
}

// pagesEditor makes other pages of some that a map shows. It copies what it changes.
type pagesEditor struct {
	pages        *slotPages
	own, ownSeal uint64 // a bit for each page of served, and of sealed, that was copied
}

func editPages(p *slotPages) pagesEditor {
	made := *p
	return pagesEditor{pages: &made}
}

// serve makes st the slot's state, which is served from then on; nil: it is not.
func (e *pagesEditor) serve(s Slot, st *slotState) { e.pages.served.replace(&e.own, s, st) }

// seal is serve of a sealed slot.
func (e *pagesEditor) seal(s Slot, st *slotState) {
	if was := e.pages.sealed.at(s); was == nil && st != nil {
		e.pages.sealedCount++
	} else if was != nil && st == nil {
		e.pages.sealedCount--
	}
	e.pages.sealed.replace(&e.ownSeal, s, st)
}

// replace puts st in a slot's place, in a copy of its page if own does not say that it
// was copied.
func (t *slotTable) replace(own *uint64, s Slot, st *slotState) {
	if page, bit := &t[s/pageSlots], uint64(1)<<(s/pageSlots); *own&bit == 0 {
		*own |= bit
		if *page != nil {
			made := **page
			*page = &made
		}
	}
	t.put(s, st)
}
