package shardmap

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/pack"
)

// Digests appends the digests of all parts of the table to out, ascending by part. The goroutine
// that applies calls it. Nothing is remembered from one call to the next, though a table never
// changes: memory might.
func (m *TableMachine) Digests(out []DigestRow) []DigestRow {
	t := m.Table()
	format := t.format() // other builds write the table in that one too
	parts := Part(partsOfTable)
	switch { // an older build has no others
	case t.Level < SecurityLevel:
		parts = PartTrust - PartNodes
	case t.Level < PointsLevel:
		parts = PartDatabases - PartNodes
	}
	for p := PartNodes; p < PartNodes+parts; p++ {
		sum, _ := t.digest(p, format, &m.scratch)
		out = append(out, DigestRow{p, sum})
	}
	return out
}

// summer sums up the elements of a part of a table, one behind the other.
type summer struct {
	// b has the sum of the elements before, and then what is to be added to it. It is used again.
	b     []byte
	sum   uint64
	bytes int // that were summed up
}

func (d *summer) begin(p Part) {
	d.sum, d.bytes = uint64(p), 0
	d.b = binary.LittleEndian.AppendUint64(d.b[:0], d.sum)
}

// next adds what was appended to b since the element before.
func (d *summer) next() {
	d.bytes += len(d.b)
	d.sum = xxhash.Sum64(d.b)
	d.b = binary.LittleEndian.AppendUint64(d.b[:0], d.sum)
}

// digest sums up a part of the table, as a format has it, and returns how many bytes that took.
func (t *Table) digest(p Part, format uint16, d *summer) (sum uint64, bytes int) {
	d.begin(p)
	switch p {
	case PartNodes:
		for i := range t.Nodes {
			d.b = appendKeptNode(d.b, &t.Nodes[i], format)
			d.b = appendLabels(d.b, t.Nodes[i].Labels) // they follow from others, and decide
			d.next()
		}
	case PartGroups:
		for i := range t.Groups {
			d.b = appendTableGroup(d.b, &t.Groups[i], format)
			d.next()
		}
	case PartSlots:
		for _, g := range t.Slots {
			d.b = binary.LittleEndian.AppendUint16(d.b, uint16(g))
		}
		d.next()
	case PartSettings:
		for i := range t.Settings {
			d.b = appendSettingTexts(d.b, &t.Settings[i])
			d.next()
		}
	case PartJobs:
		for i := range t.Jobs {
			d.b = t.Jobs[i].append(d.b, format)
			d.next()
		}
	case PartMoves:
		for i := range t.Moves {
			d.b = t.Moves[i].append(d.b)
			d.next()
		}
	case PartCluster:
		d.b = t.appendCluster(d.b)
		d.b = appendTableGroup(d.b, &t.Meta, format)
		for _, id := range t.Removed {
			d.b = pack.AppendUint(d.b, uint64(id))
		}
		d.next()
		for _, g := range t.RemovedGroups {
			d.b = pack.AppendUint(d.b, uint64(g))
		}
		d.next()
	case PartIncidents:
		d.b = pack.AppendUint(incidentList(t.Incidents).append(d.b), t.IncidentCount)
		d.next()
	case PartTrust:
		d.addTrust(&t.Security)
	case PartRules:
		d.addRules(&t.Security)
	case PartLimits:
		for i := range t.Security.Limits {
			d.b = t.Security.Limits[i].append(d.b)
			d.next()
		}
	case PartTrails:
		for i := range t.Security.Trails {
			d.b = t.Security.Trails[i].append(d.b)
			d.next()
		}
	case PartDatabases:
		d.addDatabases(&t.Catalog)
	case PartWindows:
		for i := range t.Catalog.Windows {
			d.b = t.Catalog.Windows[i].append(d.b)
			d.next()
		}
	}
	return d.sum, d.bytes
}

// addTrust adds what PartTrust is about.
func (d *summer) addTrust(s *Security) {
	d.b = pack.AppendUint(d.b, uint64(s.Mode))
	d.b = pack.AppendUint(d.b, s.Cluster)
	d.next()
	for i := range s.Roots {
		d.b = s.Roots[i].append(d.b)
		d.next()
	}
	for i := range s.Pins {
		d.b = s.Pins[i].append(d.b)
		d.next()
	}
	for i := range s.Denied {
		d.b = s.Denied[i].append(d.b)
		d.next()
	}
	for i := range s.Tokens {
		d.b = s.Tokens[i].append(d.b)
		d.next()
	}
}

// addRules adds what PartRules is about.
func (d *summer) addRules(s *Security) {
	d.b = pack.AppendUint(d.b, s.Rules)
	d.next()
	for i := range s.Users {
		d.b = s.Users[i].append(d.b)
		d.next()
	}
	for i := range s.Roles {
		d.b = appendRole(d.b, &s.Roles[i])
		d.next()
	}
}

// addDatabases adds what PartDatabases is about.
func (d *summer) addDatabases(c *Catalog) {
	for i := range c.Databases {
		d.b = c.Databases[i].append(d.b)
		d.next()
	}
	for i := range c.Policies {
		d.b = c.Policies[i].append(d.b)
		d.next()
	}
	for i := range c.Dropped {
		d.b = c.Dropped[i].append(d.b)
		d.next()
	}
}
