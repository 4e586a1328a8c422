/**
 * The race: what a Java team can get today, and this driver, side by side on one failover of one
 * real cluster.
 */
@NullMarked
package io.github.repmgrjdbc.race;

import org.jspecify.annotations.NullMarked;
