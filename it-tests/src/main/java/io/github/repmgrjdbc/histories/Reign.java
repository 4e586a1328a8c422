package io.github.repmgrjdbc.histories;

/**
 * A node took writes on a timeline.
 *
 * @param server its address
 * @param since when that was seen first, by {@link System#nanoTime()}: milliseconds after the
 *     promotion of a standby that was reached then; later, of one that was frozen or cut off
 */
record Reign(String node, String server, int timeline, long since) {}
