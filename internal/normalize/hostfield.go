package normalize

// HostField is the name of a field that detection gives every event: the host that the
// intake determined, which is the host of the event's alerts. Filters and rules can use
// it whatever the format. It is not stored, and no event can have it otherwise.
const HostField = "picket.host"
