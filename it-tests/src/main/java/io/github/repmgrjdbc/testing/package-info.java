/**
 * A real repmgr cluster for tests: {@link io.github.repmgrjdbc.testing.RepmgrCluster} starts it and
 * breaks it, {@link io.github.repmgrjdbc.testing.Writers} write through it, and {@link
 * io.github.repmgrjdbc.testing.PromotionWatch} sees when a standby becomes the primary.
 */
@NullMarked
package io.github.repmgrjdbc.testing;

import org.jspecify.annotations.NullMarked;
