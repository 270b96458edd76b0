package region

const weakOrder = false
