package trail

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A stranger decides how often it is refused, so it must not decide how many lines there are:
// with a line for each it would push out of the trail what else it has done. The numbers
// below bound what refusals add to 384 lines a minute, some 150 KB, so that the smallest
// budget lasts an hour, and the default 7.
const (
	// listedOfBucket is how many refusals of a bucket are listed in a minute.
	listedOfBucket = 10
	// listedMax is how many are in all buckets together.
	listedMax = 256
	// bucketsMax bounds the buckets, each of which may have a line a minute that counts the
	// others. What has no bucket of its own is counted in those of "others".
	bucketsMax = 128
	// minute is how long a bucket counts.
	minute = time.Minute
)

// bucketKey is what refusals are counted by.
type bucketKey struct {
	source, kind string
	verdict      Verdict
}

// others is the source of the bucket for what has none.
const others = "others"

type bucket struct {
	listed int
	silent uint64 // not listed
	last   Event  // the last of those
}

// Floods decides which events become lines. It belongs to one goroutine.
type Floods struct {
	began   time.Time // of the minute that is counted; zero: there is none
	buckets map[bucketKey]*bucket
	listed  int // of all buckets
	ready   []Event
}

// Record takes an event. What it makes of it is in the next [Floods.Take].
func (f *Floods) Record(e Event) {
	e.Bound()
	if e.Verdict != Refused {
		f.ready = append(f.ready, e)
		return
	}
	f.Turn(e.At)
	b := f.bucketOf(bucketKey{e.source(), e.Type, e.Verdict})
	if b.listed < listedOfBucket && f.listed < listedMax || bug(bugFloodListed) {
		b.listed++
		f.listed++
		f.ready = append(f.ready, e)
		return
	}
	b.silent++
	b.last = e
}

func (f *Floods) bucketOf(k bucketKey) *bucket {
	if f.buckets == nil {
		f.buckets = make(map[bucketKey]*bucket)
	}
	b := f.buckets[k]
	if b == nil && len(f.buckets) >= bucketsMax-1 { // one is for the others
		k = bucketKey{source: others, verdict: k.verdict}
		b = f.buckets[k]
	}
	if b == nil {
		b = new(bucket)
		f.buckets[k] = b
	}
	return b
}

// Turn ends the minute if it is over.
func (f *Floods) Turn(now time.Time) {
	// A clock that was set back must not make a minute of an hour.
	if !f.began.IsZero() && (now.Sub(f.began) >= minute || now.Before(f.began)) {
		f.End(now)
	}
	if f.began.IsZero() {
		f.began = now
	}
}

// End ends the minute before it is over: the node stops.
func (f *Floods) End(now time.Time) {
	for _, k := range slices.SortedFunc(maps.Keys(f.buckets), compareBuckets) {
		b := f.buckets[k]
		if b.silent == 0 {
			continue
		}
		e := b.last
		e.Object, e.Count = "", b.silent
		e.Why = cut(fmt.Sprintf("%d more since %s, the last one: %s", b.silent, f.began.UTC().Format("15:04:05"), e.Why), whyMax)
		if k.source == others {
			e.Who, e.User, e.From, e.Door, e.Type = "", 0, others, "", ""
		}
		e.At = now
		f.ready = append(f.ready, e)
	}
	clear(f.buckets)
	f.began, f.listed = time.Time{}, 0
}

// Take returns what is to be written, in order, and forgets it.
func (f *Floods) Take() []Event {
	ready := f.ready
	f.ready = nil
	return ready
}

// Ready returns how many the next [Floods.Take] returns.
func (f *Floods) Ready() int { return len(f.ready) }

// Next returns when to call Turn at the latest; zero if there is no need to.
func (f *Floods) Next() time.Time {
	for _, b := range f.buckets {
		if b.silent > 0 {
			return f.began.Add(minute)
		}
	}
	return time.Time{}
}

func compareBuckets(a, b bucketKey) int {
	return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.kind, b.kind), cmp.Compare(a.verdict, b.verdict))
}
