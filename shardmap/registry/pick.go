package registry

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
)

// PickOptions says which instance is wanted.
type PickOptions struct {
	Tags   []string  // the instance has all of them
	Near   []Setting // an instance with all of these settings, if there is any to pick
	Sticky []byte    // the same key gets the same instance as long as that can be picked; nil: by chance
	// Draw returns a number from 0 to below n, each equally likely. It is needed where
	// there is no Sticky.
	Draw func(n uint64) uint64
}

// Candidate is an instance that may be picked.
type Candidate struct {
	Instance *Instance
	Weight   uint64 // its priority, above 0
}

// ErrNoneUp says that no instance can be picked.
var ErrNoneUp = errors.New("no instance is up")

// Pick returns one of the [Service.Candidates], by weight, or [ErrNoneUp].
func (s *Service) Pick(o PickOptions) (*Instance, error) {
	list, err := s.Candidates(o)
	if err != nil {
		return nil, err
	}
	if o.Sticky != nil {
		return PickSticky(list, o.Sticky), nil
	}
	return PickDrawn(list, o.Draw), nil
}

// Candidates returns those among which [Service.Pick] chooses, in the order of the service.
// These are the instances that are up and have the tags and a priority above 0; if some of them are
// near, only those. An instance in maintenance never counts. If fewer of the others are up than the
// setting protect wants (percent), all of them count as up: when nearly everything is down at
// once, the checks are more likely to be wrong. It returns [ErrNoneUp] rather than none.
func (s *Service) Candidates(o PickOptions) ([]Candidate, error) {
	everyone := s.protected()
	var list []Candidate
	near := false // list has only near ones
	for n := range s.Instances {
		i := &s.Instances[n]
		if i.Maintenance || !everyone && i.Status != Up {
			continue
		}
		weight := i.weight()
		if weight == 0 || !i.Tagged(o.Tags) {
			continue
		}
		switch here := len(o.Near) > 0 && i.has(o.Near); {
		case here && !near:
			list, near = list[:0], true
		case near && !here:
			continue
		}
		if list == nil {
			list = make([]Candidate, 0, len(s.Instances)-n)
		}
		list = append(list, Candidate{Instance: i, Weight: weight})
	}
	if len(list) == 0 {
		return nil, ErrNoneUp
	}
	return list, nil
}

// protected reports whether so few are up that all count as up.
func (s *Service) protected() bool {
	percent, err := strconv.ParseUint(s.Get(keyProtect), 10, 64)
	if err != nil || percent == 0 { // most services: no setting
		return false
	}
	up, of := uint64(0), uint64(0)
	for n := range s.Instances {
		if i := &s.Instances[n]; !i.Maintenance {
			of++
			if i.Status == Up {
				up++
			}
		}
	}
	return up*ProtectMax < min(percent, ProtectMax)*of
}

// weight returns the priority; 0 if it can't be read, since such a record was not validated.
func (i *Instance) weight() uint64 {
	v := i.Get(keyPriority)
	if v == "" {
		return PriorityDefault
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n > PriorityMax {
		return 0
	}
	return n
}

// Tags returns the instance's tags, in the order of the setting.
func (i *Instance) Tags() []string {
	var tags []string
	for tag := range strings.SplitSeq(i.Get(keyTags), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// Tagged reports whether the instance has all of these tags.
func (i *Instance) Tagged(want []string) bool {
	if len(want) == 0 {
		return true
	}
	tags := i.Tags()
	return !slices.ContainsFunc(want, func(tag string) bool { return !slices.Contains(tags, tag) })
}

func (i *Instance) has(want []Setting) bool {
	return !slices.ContainsFunc(want, func(s Setting) bool {
		at, ok := find(i.Settings, s.Key)
		return !ok || i.Settings[at].Value != s.Value || i.Settings[at].hidden()
	})
}

// PickDrawn returns one of the candidates, each as often as its weight says. draw is as
// [PickOptions] wants it; the list has one candidate at least. It allocates nothing.
func PickDrawn(list []Candidate, draw func(n uint64) uint64) *Instance {
	sum := uint64(0) // at most InstancesMax × PriorityMax
	for i := range list {
		sum += list[i].Weight
	}
	at := draw(sum)
	for i := range list {
		if at < list[i].Weight {
			return list[i].Instance
		}
		at -= list[i].Weight
	}
	panic("registry: draw returned a number beyond its limit")
}

// PickSticky returns the candidate to which a key belongs. Everyone with the same candidates
// picks the same. Of many keys each candidate gets its share by weight, and when one goes only its
// own keys move: each candidate draws a time from the key and its id, exponentially distributed
// with its weight as the rate, and the earliest wins (weighted rendezvous hashing; Efraimidis and
// Spirakis 2006 draw samples in this way). The list has one candidate at least. It allocates
// nothing.
func PickSticky(list []Candidate, key []byte) *Instance {
	var best *Instance
	least := math.Inf(1)
	seed := hashStart
	for _, c := range key {
		seed = (seed ^ uint64(c)) * hashPrime
	}
	for i := range list {
		h := seed
		for _, c := range []byte(list[i].Instance.ID) {
			h = (h ^ uint64(c)) * hashPrime
		}
		// 53 bits are what a float64 holds; the half keeps 0 out of the logarithm.
		u := (float64(spread(h)>>11) + 0.5) / (1 << 53)
		if t := -math.Log(u) / float64(list[i].Weight); t < least {
			best, least = list[i].Instance, t
		}
	}
	return best
}

// FNV-1a, which is short, and the same in each build. Its upper bits hardly depend on the last
// bytes, by which ids differ, so spread mixes them (the finalizer of SplitMix64).
const (
	hashStart uint64 = 0xcbf29ce484222325
	hashPrime uint64 = 0x100000001b3
)

func spread(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
