package registry

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Types are the types of services. A service's type says how it is checked.
var Types = []string{TypeTCP, TypeWeb, TypeMySQL, TypePostgres, TypeRedis, TypeTTL, TypeGRPC, TypeCustom}

// The types of services, as they stand in a file.
const (
	TypeTCP      = "tcp"    // connect to host:port
	TypeWeb      = "web"    // GET the url, http or https
	TypeMySQL    = "mysql"  // log in, and ping
	TypePostgres = "pgsql"  // likewise
	TypeRedis    = "redis"  // AUTH where there is a password, and PING
	TypeTTL      = "ttl"    // the instance reports itself
	TypeGRPC     = "grpc"   // the standard health service
	TypeCustom   = "custom" // a program that the node allows by name
)

// Service is a service with its instances.
type Service struct {
	Name      string // an [IsWord] of at most [NameMax] bytes
	Type      string // one of [Types]
	Settings  []Setting
	Instances []Instance // in the order of the file; at most [InstancesMax]; no ID twice
}

// Setting is one field of a service or of an instance. Settings are sorted by key, and no key
// appears twice.
type Setting struct {
	Key   string
	Value string
	Raw   bool // Value is JSON: of an unknown field that was not a string
}

// Instance is one place where a service runs. The fields below Settings belong to the record,
// not to a definition: [Service.Set] takes them from the former record.
type Instance struct {
	ID       string // an [IsWord] of at most [IDMax] bytes
	Settings []Setting

	// Check is the version of the record at which the way the instance is checked last
	// changed: results for another one are void.
	Check       uint64
	Status      Status // as the checks say, in maintenance too
	Maintenance bool
	Reason      string   // of Status, for people; at most [ReasonMax] bytes
	Since       int64    // ms since 1970 by the clock of the leader that proposed Status; 0: never
	SinceSlot   uint64   // the slot's time at that change, ms
	Changes     []Change // the newest [ChangesMax], oldest first; fewer where [ServiceMax] leaves no room: see [Service.Append]
	Hooked      uint64   // changes that the webhook was told of. Invariant: at most Count
	Count       uint64   // changes that there have ever been

	// CheckedBy is the name of the node that runs the check now. It stands in no record: a client that
	// was told it puts it here to show it.
	CheckedBy string
}

// Change is one change of an instance's status.
type Change struct {
	At     int64  // ms since 1970 by the clock of the leader that proposed it; for people
	Slot   uint64 // the slot's time, ms; those of two changes can be compared
	To     Status
	Reason string // at most [ReasonMax] bytes
}

// Status is what the checks say of an instance. The numbers stand in records and frames.
type Status uint8

// The statuses.
const (
	Unknown  Status = 0 // not checked yet, or can't be
	Up       Status = 1
	Down     Status = 2
	Flapping Status = 3 // up and down too often; held until it is quiet
)

var statusNames = [...]string{Unknown: "unknown", Up: "up", Down: "down", Flapping: "flapping"}

// ShownMaintenance is what [Instance.Shown] says of an instance that was taken out by hand.
const ShownMaintenance = keyMaintenance

func (s Status) String() string {
	if int(s) >= len(statusNames) {
		return "invalid"
	}
	return statusNames[s]
}

// Shown returns the status in a word: that of the checks, or "maintenance", which overrides it.
func (i *Instance) Shown() string {
	if i.Maintenance {
		return ShownMaintenance
	}
	return i.Status.String()
}

// Get returns the value of a setting, "" where there is none. [Instance.ID] is no setting.
func (i *Instance) Get(key string) string { return get(i.Settings, key) }

// Get returns the value of a setting of the service itself, "" where there is none.
func (s *Service) Get(key string) string { return get(s.Settings, key) }

// Instance returns the instance of that id, nil if there is none.
func (s *Service) Instance(id string) *Instance {
	for i := range s.Instances {
		if s.Instances[i].ID == id {
			return &s.Instances[i]
		}
	}
	return nil
}

func get(list []Setting, key string) string {
	if i, ok := find(list, key); ok {
		return list[i].Value
	}
	return ""
}

func find(list []Setting, key string) (int, bool) {
	return slices.BinarySearchFunc(list, key, func(s Setting, key string) int { return strings.Compare(s.Key, key) })
}

// Report records what a check found, at the time at (ms since 1970) and the slot's time
// slot (ms), and reports whether that changed anything. The same status with another reason
// changes only the reason.
func (i *Instance) Report(to Status, reason string, at int64, slot uint64) bool {
	reason = CutReason(reason)
	if to == i.Status {
		changed := reason != i.Reason
		i.Reason = reason
		return changed
	}
	i.Status, i.Reason, i.Since, i.SinceSlot = to, reason, at, slot
	i.Count++
	// A new slice: whoever holds the former service, by Set, shares the old one.
	kept := i.Changes[max(0, len(i.Changes)-ChangesMax+1):]
	i.Changes = append(kept[:len(kept):len(kept)], Change{At: at, Slot: slot, To: to, Reason: reason})
	return true
}

// CutReason returns a reason as a record keeps it: one line of at most [ReasonMax] bytes.
func CutReason(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(reason, "�"))
	if len(reason) <= ReasonMax {
		return reason
	}
	end := ReasonMax
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}

// Complete brings a service that was put together by hand into the form of a record:
// settings sorted by key, and each instance with its ID. That is the setting id, which is no
// setting any more then; else host:port; else the url; else the script. An instance with none of
// them is left without an ID, which [Service.Validate] refuses. [ParseFile] has done this already.
func (s *Service) Complete() {
	sortSettings(s.Settings)
	for n := range s.Instances {
		s.Instances[n].complete()
	}
}

func (i *Instance) complete() {
	sortSettings(i.Settings)
	if at, ok := find(i.Settings, keyID); ok && !i.Settings[at].Raw { // Validate names one that is no text
		if i.ID == "" {
			i.ID = i.Settings[at].Value
		}
		i.Settings = slices.Delete(i.Settings, at, at+1)
	}
	if i.ID == "" {
		i.ID = i.natural()
	}
}

// sortSettings leaves those with the same key in their order: Validate names them.
func sortSettings(list []Setting) {
	slices.SortStableFunc(list, func(a, b Setting) int { return cmp.Compare(a.Key, b.Key) })
}

// natural returns the id of an instance that was given none.
func (i *Instance) natural() string {
	host, port := i.Get("host"), i.Get("port")
	switch {
	case host != "" && port != "" && strings.Contains(host, ":"): // IPv6
		return "[" + host + "]:" + port
	case host != "" && port != "":
		return host + ":" + port
	}
	return cmp.Or(i.Get("url"), i.Get("script"))
}
