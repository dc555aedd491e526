package shardmap

// Asked returns what a command to the meta group is, and whether a person may order
// it. All others are begun by the meta group's leader itself. An error is about the
// bytes of the command, all of which it reads.
func Asked(payload []byte) (what string, asked bool, err error) {
	row, c, err := readTableCommand(payload)
	if err != nil {
		return "", false, err
	}
	what, asked = row.Name, row.Asked
	switch c := c.(type) {
	case *NewJob:
		what, asked = row.Name+" "+c.Kind.String(), asked && c.Kind.row().asked && !c.Asks.Scheduled
	case *SetJobState:
		// That it is done or can't be, the leader finds out.
		what, asked = row.Name+" "+c.State.String(), asked && (!c.State.Finished() || c.State == JobCancelled)
	}
	return what, asked, nil
}

// LeaderClocks is by how much the clocks of two leaders of the meta group may differ, in seconds, when certificates are
// withdrawn: one that a leader has made whose clock is ahead of that of the leader which withdraws it must not count as
// newer. It is less than certificates are backdated by, so that those made afterwards are good at once, also where a
// clock is two days behind.
const LeaderClocks = 12 * 3600

// Stamped returns an asked command with what a client can't know, or must not say itself: who has
// asked, and when by the leader's clock, in Unix seconds. An error is about the bytes of the command.
func Stamped(payload []byte, by Principal, now int64) ([]byte, error) {
	_, c, err := readTableCommand(payload)
	if err != nil {
		return nil, err
	}
	switch c := c.(type) {
	case *NewToken:
		c.Expires += now - c.At // the client's clock may be wrong, how long it wants is not
		c.By, c.At = by, now
		return AppendNewToken(nil, c)
	case *ChangeUser:
		if c.At = now; c.Action == UserRevoke && !bug("withdrawn by one leader's clock") {
			c.At += LeaderClocks
		}
		return AppendChangeUser(nil, c)
	}
	return payload, nil
}
