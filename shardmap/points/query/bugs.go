package query

// The bugs that tests plant to show that they would find them; see bugs_planted.go.
const (
	// bugTieLost merges what shards selected as if the first shard were always right.
	bugTieLost = "selection of a later shard lost"
	// bugMeanOfMeans forgets how many values a mean of a shard stands for.
	bugMeanOfMeans = "mean of means"
	// bugWindowCut cuts at the end of a shard what belongs to one window.
	bugWindowCut = "window cut in two"
)
