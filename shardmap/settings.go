package shardmap

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap/pack"
)

// Setting is one setting of the cluster that was changed. The command has it for body:
//
//	[name, value]
//
// An empty value changes it back: what is then in force is the default.
type Setting struct {
	Name, Value string
}

// SettingRow is what there is to know of one setting of the cluster. What the limits are
// decides what is applied, so a build with others is one of a newer level.
type SettingRow struct {
	Name     string
	Default  string
	Min, Max string // of its value; both empty: About names what it may be
	About    string // what it does, for the command line and for the documents
	// Level is the cluster's level from which on it can be changed.
	Level uint32

	want  string // the values that takes accepts, in the words of an error
	takes func(value string) bool
	// reads is in place of takes where a value has parts, and says which of them is wrong.
	reads func(value string) error
}

// Names of the settings.
const (
	settingReplicas     = "replicas"
	settingMetaVoters   = "meta-voters"
	settingDeadAfter    = "dead-after"
	settingMoveRate     = "move-rate"
	settingMoveParallel = "move-parallel"
	settingBalance      = "balance"
	settingSlotRate     = "slot-rate"
	settingSlotParallel = "slot-parallel"
	settingAuditPace    = "audit-pace"
	settingWalkPace     = "walk-pace"
	settingTrailPolicy  = "trail-policy"
	settingTrailBudget  = "trail-budget"
	settingHistory      = "history"
	settingBackupEvery  = "backup-every"
	settingBackupKeep   = "backup-keep"
)

const (
	votersMax = 5

	deadAfterMin = 10 * time.Second
	deadAfterMax = 24 * time.Hour

	mebibyte    = 1 << 20
	gibibyte    = 1 << 30
	moveRateMin = mebibyte
	moveRateMax = 10 * gibibyte

	moveParallelMax = 64

	kibibyte        = 1 << 10
	slotRateMin     = 64 * kibibyte
	slotRateMax     = 10 * gibibyte
	slotParallelMax = Slots

	paceMin  = time.Second
	paceMax  = 24 * time.Hour
	paceOff  = "off"
	wantPace = "1s to 24h, a whole number with s, m or h, or off"

	trailBudgetMin = 8 * mebibyte
	trailBudgetMax = 10 * gibibyte

	// A backup reads all that the cluster has: more often than that it would do little else.
	backupEveryMin = time.Minute
	backupEveryMax = 720 * time.Hour
)

// BackupKeepMax bounds how many whole backups are kept: each is read when old ones are removed.
const BackupKeepMax = 1000

// settingRows are the settings, in the order in which they are shown.
var settingRows = [...]SettingRow{
	{Name: settingReplicas, Default: "3", Min: "1", Max: "5", Level: 3, want: "1, 3 or 5", takes: takesVoters,
		About: "voters of each data group: 1, 3 or 5, as far as there are servers; a group whose replicas were chosen with group add or group del keeps its own number"},
	{Name: settingMetaVoters, Default: "3", Min: "1", Max: "5", Level: 3, want: "1, 3 or 5", takes: takesVoters,
		About: "voters of the meta group: 1, 3 or 5, as far as there are servers"},
	{Name: settingDeadAfter, Default: "5m", Min: "10s", Max: "24h", Level: 3, want: "10s to 24h, a whole number with s, m or h", takes: takesDeadAfter,
		About: "how long a node is not heard of before its replicas are made elsewhere: a whole number with s, m or h"},
	{Name: settingMoveRate, Default: "0", Min: "1MiB", Max: "10GiB", Level: 3, want: "0, or 1MiB to 10GiB, a whole number with or without KiB, MiB or GiB", takes: takesMoveRate,
		About: "bytes per second, with or without KiB, MiB or GiB, at which each node sends replicas that move; 0 is each node's own --snapshot-rate"},
	{Name: settingMoveParallel, Default: "4", Min: "1", Max: "64", Level: 3, want: "1 to 64", takes: takesMoveParallel,
		About: "how many groups change their replicas at a time"},
	{Name: settingBalance, Default: "on", Level: 3, want: "on or off", takes: takesBalance,
		About: "on moves replicas and leaders until nodes have the same number; off moves them only off nodes that are dead, drained or removed"},
	{Name: settingSlotRate, Default: "0", Min: "64KiB", Max: "10GiB", Level: 4, want: "0, or 64KiB to 10GiB, a whole number with or without KiB, MiB or GiB", takes: takesSlotRate,
		About: "bytes per second, with or without KiB, MiB or GiB, at which each node sends slots that move to other groups; 0 is no limit"},
	{Name: settingSlotParallel, Default: "512", Min: "1", Max: "4096", Level: 4, want: "1 to 4096", takes: takesSlotParallel,
		About: "how many slots move to other groups at a time"},
	{Name: settingAuditPace, Default: "1m", Min: "1s", Max: "24h", Level: AuditLevel, want: wantPace, takes: takesPace,
		About: "how often the replicas of each group that was written to compare their states: a whole number with s, m or h, or off"},
	{Name: settingWalkPace, Default: "10m", Min: "1s", Max: "24h", Level: AuditLevel, want: wantPace, takes: takesPace,
		About: "how long a node takes to recompute everything that it holds in memory, once and again: a whole number with s, m or h, or off"},
	{Name: settingTrailPolicy, Default: "none", Level: SecurityLevel, want: "none, metadata or request", takes: takesTrailPolicy,
		About: "which reads and writes go to each node's trail: none; metadata, with no more of a key than what stands before its first slash; request, with the keys"},
	{Name: settingTrailBudget, Default: "64MiB", Min: "8MiB", Max: "10GiB", Level: SecurityLevel, want: "8MiB to 10GiB, a whole number with or without KiB, MiB or GiB", takes: takesTrailBudget,
		About: "bytes, with or without KiB, MiB or GiB, that the trail of each node may take on its disk; the oldest lines go"},
	{Name: settingHistory, Default: "off", Level: RangesLevel, want: "off, or up to 16 rules " + versionRuleWant + ` with a space between them, such as "conf/=20/720h app/=5"`, reads: readsHistory,
		About: "which keys keep their last versions, for kv history: for each prefix how many, 1 to 100, and how long after they were replaced, 1m to 8760h, 720h if not said"},
	{Name: settingBackupEvery, Default: "off", Min: "1m", Max: "720h", Level: RangesLevel, want: "1m to 720h, a whole number with s, m or h, or off", takes: takesBackupEvery,
		About: "how long after the last good backup in a directory of a node the next one is taken: a whole number with s, m or h, or off; see muster backup schedule"},
	{Name: settingBackupKeep, Default: "7", Min: "1", Max: "1000", Level: RangesLevel, want: "1 to 1000", takes: takesBackupKeep,
		About: "how many whole backups are kept in the directories of the nodes together; older ones go once a newer one was verified"},
}

// TrailPolicy says which reads and writes go to the trails of nodes.
type TrailPolicy uint8

const (
	TrailNone     TrailPolicy = iota // none do
	TrailMetadata                    // all do, with who, what and the beginning of a key
	TrailRequest                     // all do, with the keys
)

var trailPolicyNames = [...]string{TrailNone: "none", TrailMetadata: "metadata", TrailRequest: "request"}

func (p TrailPolicy) String() string { return trailPolicyNames[p] }

// check returns why a setting does not take a value, and which ones it takes.
func (row *SettingRow) check(value string) error {
	if row.reads != nil {
		if err := row.reads(value); err != nil {
			return fmt.Errorf("%w; it takes %s", err, row.want)
		}
		return nil
	}
	if !row.takes(value) {
		return fmt.Errorf("%s; want %s", describeText(value), row.want)
	}
	return nil
}

// Settings returns the settings that a cluster has, in the order in which they are shown.
func Settings() []SettingRow { return slices.Clone(settingRows[:]) }

func settingRow(name string) *SettingRow {
	for i := range settingRows {
		if settingRows[i].Name == name {
			return &settingRows[i]
		}
	}
	return nil
}

// tableSettings are the settings of a table.
type tableSettings struct {
	// Settings are those that were changed, by name. From level 3 on.
	Settings []Setting
}

// Setting returns the value of a setting that is in force; false if there is none of that
// name.
func (t *tableSettings) Setting(name string) (string, bool) {
	return settingList(t.Settings).value(name)
}

// settingList are the settings of a table that were changed, by name.
type settingList []Setting

func (l settingList) value(name string) (string, bool) {
	for _, s := range l {
		if s.Name == name {
			return s.Value, true
		}
	}
	row := settingRow(name)
	if row == nil {
		return "", false
	}
	return row.Default, true
}

// number returns a setting as a number, in the unit of read. It was checked when it was
// changed.
func (l settingList) number(name string, read func(string) (int64, error)) int64 {
	value, ok := l.value(name)
	n, err := read(value)
	if !ok || err != nil {
		panic(fmt.Sprintf("setting %s is %q in the table: %v", name, value, err))
	}
	return n
}

// Replicas is how many voters a data group is to have: 1, 3 or 5.
func (t *tableSettings) Replicas() int {
	return int(settingList(t.Settings).number(settingReplicas, readCount))
}

// MetaVoters is how many voters the meta group is to have: 1, 3 or 5.
func (t *tableSettings) MetaVoters() int {
	return int(settingList(t.Settings).number(settingMetaVoters, readCount))
}

// DeadAfter is how long a node is not heard of before it is replaced, 10 seconds to 24
// hours.
func (t *tableSettings) DeadAfter() time.Duration {
	return time.Duration(settingList(t.Settings).number(settingDeadAfter, readDuration))
}

// MoveRate is the rate at which a node sends replicas that move, in bytes per second; 0 if
// it is each node's own rate of snapshots.
func (t *tableSettings) MoveRate() int64 {
	return settingList(t.Settings).number(settingMoveRate, ParseBytes)
}

// MoveParallel is how many groups change their replicas at a time, 1 to 64.
func (t *tableSettings) MoveParallel() int {
	return int(settingList(t.Settings).number(settingMoveParallel, readCount))
}

// SlotRate is the rate at which a node sends slots that move to other groups, in bytes per
// second; 0 if nothing limits it.
func (t *tableSettings) SlotRate() int64 {
	return settingList(t.Settings).number(settingSlotRate, ParseBytes)
}

// SlotParallel is how many slots move to other groups at a time, 1 to 4,096.
func (t *tableSettings) SlotParallel() int {
	return int(settingList(t.Settings).number(settingSlotParallel, readCount))
}

// AuditPace is how often the replicas of a group compare their states, 1 second to 24 hours; 0
// if they don't.
func (t *tableSettings) AuditPace() time.Duration {
	return time.Duration(settingList(t.Settings).number(settingAuditPace, readPace))
}

// WalkPace is how long a node takes to recompute everything that it holds in memory, 1 second to
// 24 hours; 0 if it doesn't.
func (t *tableSettings) WalkPace() time.Duration {
	return time.Duration(settingList(t.Settings).number(settingWalkPace, readPace))
}

// TrailPolicy says which reads and writes go to the trails of nodes.
func (t *tableSettings) TrailPolicy() TrailPolicy {
	value, _ := t.Setting(settingTrailPolicy)
	return TrailPolicy(slices.Index(trailPolicyNames[:], value))
}

// TrailBudget is how many bytes the trail of a node may take, 8 MiB to 10 GiB.
func (t *tableSettings) TrailBudget() int64 {
	return settingList(t.Settings).number(settingTrailBudget, ParseBytes)
}

// VersionRules are the rules that say which keys keep their versions.
func (t *tableSettings) VersionRules() VersionRules {
	value, _ := t.Setting(settingHistory)
	rules, err := ReadVersionRules(value)
	if err != nil {
		panic(fmt.Sprintf("setting %s is %q in the table: %v", settingHistory, value, err))
	}
	return rules
}

// BackupEvery is how long after the last good backup the next one is due, 1 minute to 720 hours; 0 if
// none is taken unasked.
func (t *tableSettings) BackupEvery() time.Duration {
	return time.Duration(settingList(t.Settings).number(settingBackupEvery, readPace))
}

// BackupKeep is how many whole backups are kept on the nodes' hosts together, 1 to 1,000.
func (t *tableSettings) BackupKeep() int {
	return int(settingList(t.Settings).number(settingBackupKeep, readCount))
}

// Balance reports whether replicas and leaders are moved to make nodes even.
func (t *tableSettings) Balance() bool {
	value, _ := t.Setting(settingBalance)
	return value == "on"
}

// readCount reads a whole number in decimal digits.
func readCount(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%s is not a whole number", describeText(s))
	}
	return int64(n), nil
}

// unit is one in which a setting may be written, and how much of the smallest it is.
type unit struct {
	suffix string
	size   int64
}

// readDuration reads a whole number of seconds, minutes or hours, as nanoseconds.
func readDuration(s string) (int64, error) {
	for _, unit := range [...]unit{{"s", int64(time.Second)}, {"m", int64(time.Minute)}, {"h", int64(time.Hour)}} {
		digits, ok := strings.CutSuffix(s, unit.suffix)
		if !ok {
			continue
		}
		n, err := readCount(digits)
		if err != nil {
			break
		}
		return n * unit.size, nil // at most 2^31 hours: no overflow in 64 bits
	}
	return 0, fmt.Errorf("%s is not a whole number with s, m or h", describeText(s))
}

// readPace reads a duration, or that there is none, which is 0.
func readPace(s string) (int64, error) {
	if s == paceOff {
		return 0, nil
	}
	return readDuration(s)
}

// ParseBytes reads a size, 64KiB or 65536, as bytes: a whole number, 0 or more, with or without KiB, MiB or GiB. The
// error quotes the text, and names these forms.
func ParseBytes(s string) (int64, error) {
	digits, size := s, int64(1)
	for _, u := range [...]unit{{"KiB", kibibyte}, {"MiB", mebibyte}, {"GiB", gibibyte}} {
		if d, ok := strings.CutSuffix(s, u.suffix); ok {
			digits, size = d, u.size
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != digits || n < 0 || n > math.MaxInt64/size {
		return 0, fmt.Errorf("%s is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB", describeText(s))
	}
	return n * size, nil
}

func takesVoters(value string) bool {
	n, err := readCount(value)
	return err == nil && n >= 1 && n <= votersMax && n%2 == 1
}

func takesDeadAfter(value string) bool {
	d, err := readDuration(value)
	return err == nil && d >= int64(deadAfterMin) && d <= int64(deadAfterMax)
}

func takesPace(value string) bool {
	d, err := readPace(value)
	return err == nil && (value == paceOff || d >= int64(paceMin) && d <= int64(paceMax))
}

func takesMoveRate(value string) bool {
	n, err := ParseBytes(value)
	return err == nil && (n == 0 || n >= moveRateMin && n <= moveRateMax)
}

func takesMoveParallel(value string) bool {
	n, err := readCount(value)
	return err == nil && n >= 1 && n <= moveParallelMax
}

func takesSlotRate(value string) bool {
	n, err := ParseBytes(value)
	return err == nil && (n == 0 || n >= slotRateMin && n <= slotRateMax)
}

func takesSlotParallel(value string) bool {
	n, err := readCount(value)
	return err == nil && n >= 1 && n <= slotParallelMax
}

func takesTrailPolicy(value string) bool { return slices.Contains(trailPolicyNames[:], value) }

func takesTrailBudget(value string) bool {
	n, err := ParseBytes(value)
	return err == nil && n >= trailBudgetMin && n <= trailBudgetMax
}

func readsHistory(value string) error {
	_, err := ReadVersionRules(value)
	return err
}

func takesBackupEvery(value string) bool {
	d, err := readPace(value)
	return err == nil && (value == paceOff || d >= int64(backupEveryMin) && d <= int64(backupEveryMax))
}

func takesBackupKeep(value string) bool {
	n, err := readCount(value)
	return err == nil && n >= 1 && n <= BackupKeepMax
}

func takesBalance(value string) bool { return value == "on" || value == "off" }

// AppendSetting appends the bytes of a changed setting to b. At this level the error is
// always nil.
func AppendSetting(b []byte, s *Setting) ([]byte, error) {
	b = appendTableHead(b, TableSetting, 2)
	return appendSettingTexts(b, s), nil
}

func appendSettingTexts(b []byte, s *Setting) []byte {
	b = pack.AppendString(b, s.Name)
	return pack.AppendString(b, s.Value)
}

func (r *tableReader) setting() (tableCommand, error) {
	s := new(Setting)
	*s = r.settingTexts()
	return s, r.err()
}

func (r *tableReader) settingTexts() Setting {
	r.fields("setting", 2)
	return Setting{r.String(), r.String()}
}

// apply returns the table with the setting changed. What is set to the default stays in
// the table all the same: a later build may have another one.
func (s *Setting) apply(t *Table, id raft.LogID) (*Table, error) {
	object := "setting " + describeText(s.Name)
	row := settingRow(s.Name)
	switch {
	case row == nil:
		return t, &Refusal{Kind: RefusedAbsent, Object: object, Found: "there is none of that name", Next: "see muster setting list"}
	case row.Level > t.Level:
		return t, below(t, object, row.Level)
	}
	i, changed := slices.BinarySearchFunc(t.Settings, s.Name, func(has Setting, name string) int { return strings.Compare(has.Name, name) })
	made := t.draft(id)
	switch {
	case s.Value == "" && !changed:
		return t, nil
	case s.Value == "":
		made.Settings = slices.Concat(t.Settings[:i], t.Settings[i+1:])
		return made.Table, nil
	}
	if err := row.check(s.Value); err != nil {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: "see muster setting list"}
	}
	made.Settings = slices.Clone(t.Settings)
	switch {
	case changed && t.Settings[i].Value == s.Value:
		return t, nil
	case changed:
		made.Settings[i].Value = s.Value
	default:
		made.Settings = slices.Insert(made.Settings, i, *s)
	}
	return made.Table, nil
}

// check says why the settings can't be those of a table.
func (l settingList) check() error {
	for i, s := range l {
		if i > 0 && l[i-1].Name >= s.Name {
			return fmt.Errorf("setting %s is out of order", describeText(s.Name))
		}
		row := settingRow(s.Name)
		if row == nil {
			return fmt.Errorf("setting %s: %w", describeText(s.Name), ErrLevel)
		}
		if err := row.check(s.Value); err != nil {
			return fmt.Errorf("setting %s: %w", row.Name, err)
		}
	}
	return nil
}

func (s *Setting) describe() string { return describeText(s.Name) + " " + describeText(s.Value) }
