package shard

// bugBehind is planted to show that its test finds it: what was deleted before a file was made of a head is there again as long as
// the head is read in its place.
const bugBehind = "delete lost with a kept head"

// Behind returns the shard as it is now, read of frozen heads in the place of their files, which may not be here yet. kept has for
// each such head the view of the moment before [Shard.Confirm], the oldest first. Those count that follow each other up to
// the heads that are in no file; nil: none does.
func (s *Shard) Behind(kept []*View) *View {
	v := s.View()
	from := len(kept)
	for next := v.heads[0].generation; from > 0 && kept[from-1].heads[0].generation+1 == next; next-- {
		from--
	}
	if kept = kept[from:]; len(kept) == 0 {
		return nil
	}
	heads := make([]*head, 0, len(kept)+len(v.heads))
	for _, k := range kept {
		heads = append(heads, k.heads[0])
	}
	v.heads, v.files = append(heads, v.heads...), kept[0].files
	// Deletes were forgotten with the last of what they hide: here that is still there.
	deletes := kept[0].tombstones
	if bug(bugBehind) {
		deletes = nil
	}
	last := uint64(0)
	for i := range deletes {
		last = deletes[i].index
	}
	deletes = deletes[:len(deletes):len(deletes)]
	for _, t := range v.tombstones {
		if t.index > last {
			deletes = append(deletes, t)
		}
	}
	v.tombstones = deletes
	return v
}
