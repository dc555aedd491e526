package registry

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Settings of a service that others than this package follow.
const (
	SettingWebhook       = "webhook"          // the URL that is told of changes
	SettingWebhookSecret = "webhook_secret"   // the key with which it is told
	SettingDeregister    = "deregister_after" // ms
)

// ShownCheckedBy is the field that shows [Instance.CheckedBy]. Nodes must take a setting of this name,
// since those of older builds do, in the same entry. So commands and files refuse it, and an instance
// may still have one.
const ShownCheckedBy = "checked_by"

// Keys that more than one place here knows: of settings, and of what a file has beside them.
const (
	keyName  = "name"
	keyType  = "type"
	keyNode  = "node"
	keyNodes = "nodes" // as it is shown
	keyID    = "id"    // becomes Instance.ID

	keyStatus      = "status"
	keySince       = "since"
	keyReason      = "reason"
	keyChanges     = "changes"
	keyMaintenance = "maintenance"

	keyHost     = "host"
	keyPort     = "port"
	keyURL      = "url"
	keyScript   = "script"
	keyDatabase = "database"
	keyInterval = "interval"
	keyTimeout  = "timeout"
	keyPriority = "priority"
	keyTags     = "tags"
	keyProtect  = "protect"
)

const (
	portMax = 65535
	on      = "on"
	off     = "off"
)

// known is a setting that means something to muster. All others are kept and shown.
type known struct {
	key    string
	wanted []string            // the types that can't be checked without it
	want   string              // what a value is to be, for people
	ok     func(v string) bool // nil: any text
}

// fields says what may stand in an object of a file.
type fields struct {
	known    []known
	reserved map[string]string // keys that are no settings, with what to say to whoever sets them
}

// lookUp returns what is known of a key, nil if nothing is.
func (f *fields) lookUp(key string) *known {
	for i := range f.known {
		if f.known[i].key == key {
			return &f.known[i]
		}
	}
	return nil
}

const (
	isShown = "shown, not set"
	isNone  = "no setting"
	wantURL = "http:// or https:// with a host, a port from 1 to 65535 or none, and without a user or a password"
)

// fieldsOfInstance reserves the fields that would hide what the checks say, and id, which
// becomes Instance.ID if it is a text.
var fieldsOfInstance = fields{known: instanceSettings, reserved: map[string]string{
	keyID: "want one text", keyStatus: isShown + "; field expect has the HTTP statuses that mean up",
	keySince: isShown, keyReason: isShown, keyMaintenance: isShown, keyChanges: isShown}}

// fieldsOfService reserves the fields that are no settings of a service.
var fieldsOfService = fields{known: serviceSettings, reserved: map[string]string{
	keyName: isNone, keyType: isNone, keyNode: isNone, keyNodes: isNone}}

// instanceSettings are the settings of an instance that are known.
var instanceSettings = []known{
	{key: keyHost, wanted: hostTypes, want: "a host name or an address", ok: isHost},
	{key: keyPort, wanted: hostTypes, want: "a number from 1 to 65535", ok: isPort},
	{key: "user"},
	{key: "pass"},
	{key: keyDatabase},
	{key: keyURL, wanted: []string{TypeWeb}, want: wantURL + " (fields user and pass)", ok: isURL},
	{key: keyScript, wanted: []string{TypeCustom}, want: "the name of a program that nodes allow (serve --check NAME=PATH): letters, digits, . _ -", ok: IsProgram},
	{key: keyPriority, want: "a number from 0 to 1000000", ok: number(0, PriorityMax)},
	{key: keyInterval, want: "ms, from 100 to 86400000", ok: millis(IntervalMin, IntervalMax)},
	{key: keyTimeout, want: "ms, from 10 to 60000", ok: millis(TimeoutMin, TimeoutMax)},
	{key: "rise", want: "a number from 1 to 10", ok: number(1, ThresholdMax)},
	{key: "fall", want: "a number from 1 to 10", ok: number(1, ThresholdMax)},
	{key: keyTags, want: "1 to 32 tags with commas between them, none of them empty", ok: isTags},
	{key: "expect", want: "HTTP statuses or classes with commas between them, as in 2xx,301", ok: func(v string) bool { _, ok := readExpect(v); return ok }},
	{key: "server_name", want: "a host name", ok: isHost},
	{key: "grpc_service"},
	{key: "tls", want: `"on" or "off"`, ok: isSwitch},
	{key: "tls_skip_verify", want: `"on" or "off"`, ok: isSwitch},
}

// serviceSettings are those of a service itself.
var serviceSettings = []known{
	{key: SettingWebhook, want: wantURL, ok: isURL},
	{key: SettingWebhookSecret},
	{key: keyProtect, want: "percent, from 0 to 100", ok: number(0, ProtectMax)},
	{key: SettingDeregister, want: "ms, from 1000 to 31536000000", ok: millis(DeregisterMin, DeregisterMax)},
}

var isPort = number(1, portMax)

var hostTypes = []string{TypeTCP, TypeMySQL, TypePostgres, TypeRedis, TypeGRPC}

func number(least, limit uint64) func(string) bool {
	return func(v string) bool {
		// Without a sign, spaces or zeros in front: one way to write each number.
		n, err := strconv.ParseUint(v, 10, 64)
		return err == nil && n >= least && n <= limit && strconv.FormatUint(n, 10) == v
	}
}

func millis(least, limit time.Duration) func(string) bool {
	return number(uint64(least/time.Millisecond), uint64(limit/time.Millisecond))
}

func isSwitch(v string) bool { return v == on || v == off }

// hostMax is how long a host name can be (RFC 1035, section 2.3.4, as text).
const hostMax = 253

func isHost(v string) bool {
	if _, err := netip.ParseAddr(v); err == nil {
		return IsWord(v) // which takes any zone, as in fe80::1%eth0
	}
	return v != "" && len(v) <= hostMax && consistsOf(v, "-._")
}

// consistsOf reports whether v consists of ASCII letters, digits, and others.
func consistsOf(v, others string) bool {
	for _, c := range []byte(v) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(others, c) >= 0) {
			return false
		}
	}
	return true
}

// isURL refuses a user and a password: a URL is shown, and what is secret has a field of its own.
// A port is as that of a host, which package url does not see to: it takes any digits.
func isURL(v string) bool {
	u, err := url.Parse(v)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && IsWord(u.Hostname()) &&
		(u.Port() == "" || isPort(u.Port())) && u.User == nil && IsWord(v)
}

// IsProgram reports whether a program of [TypeCustom] may have a name: 1 to [NameMax] letters,
// digits, '.', '_' and '-', and neither '.' nor '-' at the beginning. So no name is a path, an
// option or a command line.
func IsProgram(v string) bool {
	return v != "" && len(v) <= NameMax && v[0] != '.' && v[0] != '-' && consistsOf(v, "._-")
}

func isTags(v string) bool {
	tags := strings.Split(v, ",")
	return len(tags) <= TagsMax && !slices.ContainsFunc(tags, func(t string) bool { return strings.TrimSpace(t) == "" })
}

// isControl reports whether r is a control character, or one of the two others that end a line.
func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
