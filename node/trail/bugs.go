package trail

// The bugs that tests plant.
const (
	bugNotChained  = "trail line not chained"
	bugFloodListed = "flood listed"
)
