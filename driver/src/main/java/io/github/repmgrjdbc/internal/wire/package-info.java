/** One physical connection and its sockets: how pgJDBC is made to open and end it. Not API. */
@NullMarked
package io.github.repmgrjdbc.internal.wire;

import org.jspecify.annotations.NullMarked;
