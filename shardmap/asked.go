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
		what, asked = row.Name+" "+c.Kind.String(), asked && c.Kind.row().asked
	case *SetJobState:
		// That it is done or can't be, the leader finds out.
		what, asked = row.Name+" "+c.State.String(), asked && (!c.State.Finished() || c.State == JobCancelled)
	}
	return what, asked, nil
}
